from django.urls import path

from accounts import brand
from accounts.views import account, company, home, invitations, people, sign_up

urlpatterns = [
    path("", home.home, name="home"),
    path("favicon.ico", brand.icon, name="icon"),
    path("connect/brand.css", brand.style_sheet, name="brand"),
    path("accounts/signup/", sign_up.SignupView.as_view(), name="account_signup"),
    path("accounts/invitations/<str:token>/", invitations.invitation, name="invitation"),
    path("accounts/invitations/<str:token>/signup/", invitations.InvitedSignupView.as_view(), name="invited_signup"),
    path("accounts/profile/", account.profile, name="profile"),
    path("accounts/notifications/", account.notifications, name="notifications"),
    path("accounts/notifications/stop/<str:signed>/", account.stop_mails, name="stop_mails"),
    path("accounts/close/", account.close, name="close_account"),
    path("accounts/companies/", company.start, name="start_company"),
    path("c/<slug:code>/company/", company.company, name="company"),
    path("c/<slug:code>/people/", people.people, name="people"),
    path("c/<slug:code>/people/invite/", people.invite, name="invite"),
    path("c/<slug:code>/people/leave/", people.leave, name="leave"),
    path("c/<slug:code>/people/invitations/<int:invitation>/again/", people.invite_again, name="invite_again"),
    path("c/<slug:code>/people/invitations/<int:invitation>/withdraw/", people.withdraw, name="withdraw_invitation"),
    path("c/<slug:code>/people/<int:membership>/role/", people.change_role, name="change_role"),
    path("c/<slug:code>/people/<int:membership>/remove/", people.remove, name="remove_member"),
]
