// Two conveniences on top of pages that work without them:
//   <time datetime="…" data-relative>        reads "2 minutes ago", with the viewer's local time as its title
//   <button type="button" data-copy="#id">   copies that element's text or value, and says so
(() => {
  "use strict";

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

  function refresh() {
    refreshTimes();
    showCopyButtons();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copyFrom(button);
  });
  document.addEventListener("htmx:load", refresh);
  window.setInterval(refreshTimes, REFRESH_MS);
  refresh();
})();
