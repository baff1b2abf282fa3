// What is in an address, /?call=77#t=83.25, and in what people paste.

const ID = /^[1-9]\d{0,18}$/;
const KEY = /^[\x21-\x7e]{1,512}$/;
const MOMENT = /^#t=(\d{1,6}(?:\.\d+)?)$/;

/** The call and the second that an address names; null where it names none. */
export function readAddress({ search, hash }) {
  return {
    id: idIn(new URLSearchParams(search).get("call") ?? ""),
    seconds: secondsIn(hash),
  };
}

/** The address of a moment of a call, exact to the millisecond. */
export function addressOf(id, seconds = 0) {
  const moment = Number(seconds.toFixed(3));
  return `/?call=${id}${moment ? `#t=${moment}` : ""}`;
}

/** The call and the second in `89`, `#88`, or a link to a call; null where there is no such ID. */
export function readCall(typed) {
  const written = typed.trim();
  if (URL.canParse(written) && /^https?:/.test(written)) {
    return readAddress(new URL(written));
  }
  return { id: idIn(written.replace(/^#/, "")), seconds: null };
}

/** The key in `…` or `Bearer …`; null where there is none. */
export function readKey(typed) {
  const key = typed.trim().replace(/^Bearer\s+/i, "");
  return KEY.test(key) ? key : null;
}

const idIn = (text) => (ID.test(text) ? text : null);

function secondsIn(hash) {
  const found = MOMENT.exec(hash);
  return found ? Number(found[1]) : null;
}
