// In the admin. A picker's box gets the words of its label, which select2 does not give it. A button with data-shows-in="id"
// posts its form to the button's formaction and puts the element #id of the answer into the page's own; without JavaScript it
// leads to the answer.
(() => {
  "use strict";
  function nameBoxes() {
    for (const field of document.querySelectorAll("select.admin-autocomplete")) {
      const label = field.labels[0]?.textContent.replace(":", "");
      const box = field.parentElement.querySelector(".select2-selection__rendered");
      if (label) box?.setAttribute("aria-label", label);
    }
  }
  // jQuery runs what waits for the document in a timer of its own, which may be after `load`.
  window.addEventListener("load", () => window.setTimeout(nameBoxes));
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-shows-in]");
    if (!button) return;
    event.preventDefault();
    const place = document.getElementById(button.dataset.showsIn);
    button.disabled = true;
    place.textContent = "Asking SnapInspect…";
    try {
      const answer = await fetch(button.formAction, { method: "POST", body: new FormData(button.form) });
      if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      place.replaceChildren(...page.getElementById(place.id).childNodes);
    } catch {
      place.textContent = "There is no answer. Try again in a minute.";
    } finally {
      button.disabled = false;
    }
  });
})();
