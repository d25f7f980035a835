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

// A checkbox with data-check-all="NAME" checks all boxes of that name in its form.
for (const all of document.querySelectorAll("[data-check-all]")) {
  all.closest("label").hidden = false;
  all.addEventListener("change", () => {
    for (const box of all.form.elements) {
      if (box.type === "checkbox" && box.name === all.dataset.checkAll) box.checked = all.checked;
    }
  });
}

// A link or a form with data-download gets a token, by which the element with data-progress asks how
// far the download is, and shows it until it has ended.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-download]");
  const token = link && watched();
  if (!token) return;
  const address = new URL(link.href);
  address.searchParams.set("token", token);
  link.href = address;
});

document.addEventListener("submit", (event) => {
  const token = event.target.matches("form[data-download]") && watched();
  if (!token) return;
  const field = event.target.elements.token || document.createElement("input");
  Object.assign(field, { type: "hidden", name: "token", value: token });
  event.target.append(field);
});

function watched() {
  const shelf = document.querySelector("[data-progress]");
  if (!shelf) return null;
  const token = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  watch(shelf, shelf.dataset.progress.replace("TOKEN", token));
  return token;
}

async function watch(shelf, address) {
  const line = document.createElement("p");
  const text = document.createElement("span");
  const bar = document.createElement("progress");
  line.className = "notice download";
  bar.setAttribute("aria-label", "How far the download is");
  bar.max = 1;
  for (let asked = 0, state = "unknown"; state === "running" || state === "unknown" && asked < 40; asked++) {
    await new Promise((done) => setTimeout(done, asked ? 500 : 250));
    let download;
    try {
      const answer = await fetch(address);
      if (!answer.ok) break;
      download = await answer.json();
    } catch {
      continue;  // the gateway may be back in a moment
    }
    state = download.state;
    if (state === "unknown") continue;
    if (!line.isConnected) {
      line.append(text, bar);
      shelf.append(line);
    }
    text.textContent = describe(download);
    const way = download.last - download.first;
    if (state === "running") {
      if (way && download.at !== null) bar.value = (download.at - download.first) / way;
      continue;
    }
    bar.remove();
    line.classList.add(state === "whole" ? "done" : "error");
    line.setAttribute("role", "status");
  }
}

function describe(download) {
  const number = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits });
  const size = `${number(download.messages, 0)} messages, ${number(download.bytes / 1e6, 1)} MB`;
  const at = download.at === null ? "" : `, at ${new Date(download.at * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  if (download.state === "running") return `${download.name}: ${size}${at}`;
  const rest = Object.entries(download.left_out).map(([what, count]) => `; ${number(count, 0)} without ${what} left out`).join("");
  if (download.state === "whole") return `${download.name} is whole: ${size}${rest}`;
  return `${download.name} was broken off after ${size}: ${download.problem}`;
}

refreshing(document.getElementById("main"));
