import logging
from collections.abc import Callable
from smtplib import SMTPException

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

logger = logging.getLogger(__name__)


class MailTrouble:
    """Turns a mail server that is down into a calm page, for the account pages that send mail while one waits.

    Sign-up looks after itself: it also undoes what it has saved.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, problem: Exception) -> HttpResponse | None:
        if not isinstance(problem, (SMTPException, OSError)) or not request.path.startswith("/accounts/"):
            return None
        logger.error("Mail could not be sent (%s).", type(problem).__name__)
        return render(request, "accounts/mail_trouble.html", status=503)
