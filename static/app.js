// Progressive enhancement; every page works without it:
//   <time datetime="…" data-relative>        reads "2 minutes ago", with the viewer's local time as its title
//   <button type="button" data-copy="#id">   copies that element's text or value, and says so
//   <form method="post">                     its button shows that it waits and cannot be pressed twice, until the next
//                                            page; not with data-stays, for a form whose answer is a file
//   <div data-live hx-get="…">               is reloaded, but not in a hidden tab or while its text is selected; the
//                                            scroll position stays; a failed request shows [data-live-trouble]
// It removes tokens from the URL's fragment, which no server sees, should SnapInspect ever send them there, and says so.
// It also sets the time zone cookie that accounts/middleware.py reads.
(() => {
  "use strict";

  if (/[#&](access|refresh)_token=/i.test(location.hash)) {
    history.replaceState(history.state, "", location.pathname + location.search);
    const notice = document.createElement("p");
    notice.className = "alert alert-warning";
    notice.setAttribute("role", "status");
    notice.textContent =
      "SnapInspect put its answer into a part of the address that this app never gets, so nothing was saved. It was" +
      " removed from the address. Please start again; if it happens again, tell the people who run this app.";
    document.querySelector("main")?.prepend(notice);
  }

  // Reloading a page that answers a form gets the page anew, and does not send the form once more.
  history.replaceState(history.state, "", location.href);

  const REFRESH_MS = 30_000;
  const COPIED_MS = 2_000;
  const LONGEST_WAIT_MS = 30_000;
  const UNITS = [
    ["year", 365 * 24 * 3600],
    ["month", 30 * 24 * 3600],
    ["day", 24 * 3600],
    ["hour", 3600],
    ["minute", 60],
  ];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

  function relativeTime(seconds) {
    const size = Math.abs(seconds);
    for (const [unit, length] of UNITS) {
      if (size >= length) return relative.format(Math.round(seconds / length), unit);
    }
    return seconds > 0 ? "in a moment" : "just now";
  }

  const onPaper = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  function refreshTimes(isPrinting) {
    for (const element of document.querySelectorAll("time[data-relative]")) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      element.textContent =
        isPrinting === true ? onPaper.format(moment) : relativeTime((moment.getTime() - Date.now()) / 1000);
      element.title = exact.format(moment);
    }
  }

  function showCopyButtons() {
    for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  }

  function select(source) {
    if ("select" in source) source.select();
    else window.getSelection().selectAllChildren(source);
  }

  async function copyFrom(button) {
    const source = document.querySelector(button.dataset.copy);
    if (!source) return;
    const label = button.querySelector("[data-copy-label]") ?? button;
    const before = (button.dataset.copyBefore ??= label.textContent);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
      label.textContent = "Copied";
    } catch {
      // No permission, or a page without https: leave the text selected for the keyboard.
      select(source);
      label.textContent = "Selected, press Ctrl+C";
    }
    window.setTimeout(() => (label.textContent = before), COPIED_MS);
  }

  function mustNotReload(part) {
    const selection = window.getSelection();
    return document.hidden || (selection.type === "Range" && part.contains(selection.anchorNode));
  }

  // Position of the topmost visible row, and the table's horizontal scroll offset.
  let position = null;

  function savePosition(part) {
    const rows = [...part.querySelectorAll("[data-row][id]")];
    const row = window.scrollY > 0 ? rows.find((each) => each.getBoundingClientRect().bottom > 0) : null;
    const table = part.querySelector(".table-responsive");
    position = { id: row?.id, top: row?.getBoundingClientRect().top, left: table?.scrollLeft ?? 0 };
  }

  function restorePosition(part) {
    if (!position) return;
    const row = position.id && document.getElementById(position.id);
    if (row) window.scrollBy({ top: row.getBoundingClientRect().top - position.top, behavior: "instant" });
    const table = part.querySelector(".table-responsive");
    if (table) table.scrollLeft = position.left;
    position = null;
  }

  function onLive(name, act) {
    document.addEventListener(name, (event) => {
      if (event.target instanceof Element && event.target.matches("[data-live]")) act(event, event.target);
    });
  }

  function showConnectionError(hasFailed) {
    for (const element of document.querySelectorAll("[data-live-trouble]")) element.hidden = !hasFailed;
  }

  function refresh() {
    refreshTimes();
    showCopyButtons();
  }

  function setTimeZoneCookie() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const secure = window.location.protocol === "https:" ? "; secure" : "";
    if (zone) document.cookie = `timezone=${zone}; path=/; max-age=31536000; samesite=lax${secure}`;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copyFrom(button);
  });
  function showWaiting(form, button) {
    form.dataset.waiting = "";
    if (!button) return;
    const spinner = document.createElement("span");
    spinner.className = "spinner-border spinner-border-sm me-1";
    spinner.setAttribute("aria-hidden", "true");
    button.prepend(spinner);
    button.setAttribute("aria-busy", "true");
    button.setAttribute("aria-disabled", "true"); // not disabled: a disabled button's value would not be sent
    button.classList.add("disabled");
    const said = document.createElement("span");
    said.className = "small text-body-secondary ms-2";
    said.dataset.waits = "";
    said.setAttribute("role", "status");
    said.textContent = "Please wait…";
    form.append(said);
    window.setTimeout(stopWaiting, LONGEST_WAIT_MS);
  }

  // Also for a page that comes back from the browser's memory, or whose answer never came.
  function stopWaiting() {
    for (const form of document.querySelectorAll("form[data-waiting]")) {
      delete form.dataset.waiting;
      form.querySelector("[data-waits]")?.remove();
      for (const button of form.querySelectorAll("[aria-busy]")) {
        button.querySelector(".spinner-border")?.remove();
        for (const name of ["aria-busy", "aria-disabled"]) button.removeAttribute(name);
        button.classList.remove("disabled");
      }
    }
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.getAttribute("method") !== "post" || "stays" in form.dataset) return;
    if ("waiting" in form.dataset) event.preventDefault();
    else showWaiting(form, event.submitter);
  });
  window.addEventListener("pageshow", (event) => event.persisted && stopWaiting());
  onLive("htmx:beforeRequest", (event, part) => mustNotReload(part) && event.preventDefault());
  onLive("htmx:beforeSwap", (event, part) => savePosition(part));
  onLive("htmx:afterSwap", (event, part) => {
    refresh(); // not on htmx:load: exact times would flash before the relative ones
    restorePosition(part);
  });
  onLive("htmx:sendError", () => showConnectionError(true));
  onLive("htmx:responseError", () => showConnectionError(true));
  onLive("htmx:afterRequest", (event) => event.detail.successful && showConnectionError(false));
  document.addEventListener("htmx:load", refresh);
  window.setInterval(refreshTimes, REFRESH_MS);
  window.addEventListener("beforeprint", () => refreshTimes(true));
  window.addEventListener("afterprint", refreshTimes);
  refresh();
  setTimeZoneCookie();
})();
