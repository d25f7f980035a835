"use strict";
// Everything works without this file; with it, pages stay fresh by themselves.

// A main part with data-refresh="SECONDS" is fetched anew while somebody looks at it.
function refreshing(main) {
  const seconds = Number(main.dataset.refresh);
  if (!seconds) return;
  setInterval(async () => {
    const busy = main.querySelector("details[open], dialog[open]") || main.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button");
    if (document.hidden || busy) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("main");
      document.body.classList.toggle("stale", !answer.ok || !fresh);
      if (answer.redirected && fresh && !fresh.dataset.refresh) location.reload();
      else if (answer.ok && fresh) main.replaceChildren(...fresh.childNodes);
    } catch {
      document.body.classList.add("stale");
    }
  }, seconds * 1000);
}

// A form with data-confirm="QUESTION" asks first.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// A select with data-submit sends its form when it changes.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

refreshing(document.getElementById("main"));
