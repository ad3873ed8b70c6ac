// Where an owner's browser lands after the sign-in: says who is signed in and what comes next, and
// signs out.

const page = document.getElementById("page");
const leave = document.getElementById("leave");
let token = "";

async function ask(method, path) {
  const headers = method === "GET" ? {} : { "X-CSRF-Token": token };
  try {
    return await fetch(path, { method, headers, cache: "no-store" });
  } catch {
    return null;
  }
}

function show(state) {
  page.dataset.state = state;
}

function tell(me) {
  document.getElementById("business").textContent = me.tenant.name;
  document.getElementById("next").textContent = me.tenant.next_action;
  for (const place of document.querySelectorAll(".email")) place.textContent = me.user.email;
  show("in");
}

async function look() {
  const session = await ask("GET", "/portal/session");
  const me = session?.ok ? await ask("GET", "/portal/me") : session;
  if (me?.status === 401) return show("out");
  if (!me?.ok) return show("offline");
  token = (await session.json()).csrf_token;
  tell(await me.json());
}

leave.addEventListener("click", async () => {
  leave.disabled = true;
  const answer = await ask("DELETE", "/portal/session");
  leave.disabled = false;
  if (answer?.ok || answer?.status === 401) {
    document.getElementById("business").textContent = "";
    show("out");
  } else show("offline");
});

look();
