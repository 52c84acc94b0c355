// A link from another site arrives without the cookie, which is strict: from here it is sent along,
// and the server leads away from this form whoever is logged in.

const there = document.querySelector("input[name=next]").value || "/";
if (!document.getElementById("fault")) {
  const reply = await fetch(location.pathname, { redirect: "manual" }).catch(() => null);
  if (reply?.type === "opaqueredirect") location.replace(there);
}
