// The server's answers, or a reason that can be shown.

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

/** JSON of GET /api/PATH. Raises Refused; status 0: the server was not reached. */
export async function get(path, query = {}, signal = undefined) {
  const asked = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const address = `/api/${path}${asked.length ? `?${new URLSearchParams(asked)}` : ""}`;
  let reply;
  try {
    reply = await fetch(address, { signal, headers: { accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached.");
  }
  if (reply.status === 401 || reply.status === 403) {
    toLogin();
    throw new Refused(reply.status, "You are logged out.");
  }
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refused(reply.status, body.error ?? `The server answered ${reply.status}.`);
  return body;
}

export const framePath = ({ camera, boot, seq }) => `frames/${camera}/${boot}/${seq}`;

export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
}
