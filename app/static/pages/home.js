// The page `/`: sends a message to oneself, and copies code. The feed on it is `<belfry-feed>`, which needs nothing of this.

/** Ring the bell of whoever is signed in. @param {HTMLFormElement} form */
async function ring(form) {
  const { title, level } = Object.fromEntries(new FormData(form));
  const started = performance.now();
  const answer = await fetch(new URL("../../publish", import.meta.url), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ to: document.querySelector(".user")?.textContent, title, level }),
  });
  const body = await answer.json();
  return answer.ok ? `Kept and sent in ${Math.ceil(performance.now() - started)} ms.` : body.detail;
}

/** @param {HTMLButtonElement} button */
async function copy(button) {
  const code = document.getElementById(button.dataset.copy ?? "");
  await navigator.clipboard.writeText(code?.textContent ?? "");
  button.textContent = "Copied";
}

for (const button of document.querySelectorAll("button")) {
  if (button.dataset.copy) button.addEventListener("click", () => copy(button));
}

const form = document.querySelector("form#try");
if (form instanceof HTMLFormElement) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = /** @type {HTMLElement} */ (form.querySelector("[role=status]"));
    said.textContent = await ring(form).catch(() => "No answer from the server. Try again.");
  });
}
