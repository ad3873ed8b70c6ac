// The owner's side of a pairing link: asks for the code, shows it, says when the phone is connected.
// The token comes in the fragment, leaves the address bar at once and is only ever posted.

const ASK_AGAIN_MS = 2000;
const KEPT_AS = "pairing";
const GONE = new Set([400, 404, 410]);
const page = document.getElementById("page");
const code = document.getElementById("code");
const business = document.getElementById("business");
const renew = document.getElementById("renew");

// Kept for this tab, so that loading the page anew does not lose it.
const given = location.hash.slice(1);
if (given) {
  sessionStorage.setItem(KEPT_AS, given);
  history.replaceState(null, "", location.pathname);
}
const token = given || sessionStorage.getItem(KEPT_AS) || "";

function show(state) {
  page.dataset.state = state;
  if (state !== "scan") code.removeAttribute("src");
}

// What the server tells, or a state of the page's own: gone, offline.
async function ask(path) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
      cache: "no-store",
      credentials: "omit",
    });
    if (response.ok) return await response.json();
    return { state: GONE.has(response.status) ? "gone" : "offline" };
  } catch {
    return { state: "offline" };
  }
}

function tell(answer) {
  if (answer.business_name) business.textContent = answer.business_name;
  if (answer.qr && code.getAttribute("src") !== answer.qr) code.src = answer.qr;
  show(answer.state);
  if (answer.state === "connected" || answer.state === "gone") {
    sessionStorage.removeItem(KEPT_AS);
    return false;
  }
  return true;
}

async function watch() {
  while (tell(await ask("/pair/code"))) {
    await new Promise((done) => setTimeout(done, ASK_AGAIN_MS));
  }
}

renew.addEventListener("click", async () => {
  renew.disabled = true;
  tell(await ask("/pair/renew"));
  renew.disabled = false;
});

if (token) watch();
else show("gone");
