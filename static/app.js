// Conveniences on top of pages that work without them:
//   <time datetime="…" data-relative>        reads "2 minutes ago", with the viewer's local time as its title
//   <button type="button" data-copy="#id">   copies that element's text or value, and says so
//   <div data-live hx-get="…">               asks for itself anew, but not while nobody looks or text is being selected;
//                                            what is being read stays where it is; trouble shows [data-live-trouble]
// It takes tokens out of the address, should SnapInspect ever send them behind a "#", which no server sees.
// And it tells the server which time zone the viewer's days are counted in (accounts/middleware.py).
(() => {
  "use strict";

  if (/[#&](access|refresh)_token=/i.test(location.hash)) {
    history.replaceState(history.state, "", location.pathname + location.search);
  }

  const REFRESH_MS = 30_000;
  const COPIED_MS = 2_000;
  const UNITS = [
    ["year", 365 * 24 * 3600],
    ["month", 30 * 24 * 3600],
    ["day", 24 * 3600],
    ["hour", 3600],
    ["minute", 60],
  ];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

  function inWords(seconds) {
    const size = Math.abs(seconds);
    for (const [unit, length] of UNITS) {
      if (size >= length) return relative.format(Math.round(seconds / length), unit);
    }
    return seconds > 0 ? "in a moment" : "just now";
  }

  function refreshTimes() {
    for (const element of document.querySelectorAll("time[data-relative]")) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      element.textContent = inWords((moment.getTime() - Date.now()) / 1000);
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

  function isBusy(part) {
    const selection = window.getSelection();
    return document.hidden || (selection.type === "Range" && part.contains(selection.anchorNode));
  }

  // Where the topmost row in sight stands, and how far the table is scrolled sideways.
  let place = null;

  function rememberPlace(part) {
    const rows = [...part.querySelectorAll("[data-row][id]")];
    const row = window.scrollY > 0 ? rows.find((each) => each.getBoundingClientRect().bottom > 0) : null;
    const table = part.querySelector(".table-responsive");
    place = { id: row?.id, top: row?.getBoundingClientRect().top, left: table?.scrollLeft ?? 0 };
  }

  function returnToPlace(part) {
    if (!place) return;
    const row = place.id && document.getElementById(place.id);
    if (row) window.scrollBy({ top: row.getBoundingClientRect().top - place.top, behavior: "instant" });
    const table = part.querySelector(".table-responsive");
    if (table) table.scrollLeft = place.left;
    place = null;
  }

  function whenLive(name, act) {
    document.addEventListener(name, (event) => {
      if (event.target instanceof Element && event.target.matches("[data-live]")) act(event, event.target);
    });
  }

  function showTrouble(isTrouble) {
    for (const element of document.querySelectorAll("[data-live-trouble]")) element.hidden = !isTrouble;
  }

  function refresh() {
    refreshTimes();
    showCopyButtons();
  }

  function tellTimeZone() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const secure = window.location.protocol === "https:" ? "; secure" : "";
    if (zone) document.cookie = `timezone=${zone}; path=/; max-age=31536000; samesite=lax${secure}`;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copyFrom(button);
  });
  whenLive("htmx:beforeRequest", (event, part) => isBusy(part) && event.preventDefault());
  whenLive("htmx:beforeSwap", (event, part) => rememberPlace(part));
  whenLive("htmx:afterSwap", (event, part) => {
    refresh(); // at once: waiting for htmx:load would show the exact times for a moment
    returnToPlace(part);
  });
  whenLive("htmx:sendError", () => showTrouble(true));
  whenLive("htmx:responseError", () => showTrouble(true));
  whenLive("htmx:afterRequest", (event) => event.detail.successful && showTrouble(false));
  document.addEventListener("htmx:load", refresh);
  window.setInterval(refreshTimes, REFRESH_MS);
  refresh();
  tellTimeZone();
})();
