// Reads calls with openapi-fetch and the types that openapi-typescript generates, and writes what was read.
//
// `node read_calls.mjs URL KEY FOREIGN_CALL CALL…`. The assertions on types are the compiler's to check.

import createClient from "openapi-fetch";
import type { components, paths } from "./calls_api.mjs";

type Schemas = components["schemas"];
type Call = Schemas["Call"];

/** `true` where two types are the same, and otherwise nothing that `true` could be. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;

export const TYPES: [
  Same<Call["id"], number>,
  Same<Call["status"], "active" | "ended" | "error" | "pending" | "deleted">,
  Same<Call["recording_url"], string | null>,
  Same<Call["transcript"][number]["role"], "assistant" | "user">,
  Same<Call["transcript"][number]["timestamp"], string | null>,
  Same<Call["cost"], Schemas["Cost"] | null>,
  Same<Call["analysis"], Schemas["Analysis"] | null>,
  Same<Schemas["Analysis"]["sentiment"], "positive" | "neutral" | "negative" | null>,
  Same<Schemas["Analysis"]["score"], Schemas["QualityScore"] | null>,
  Same<Schemas["NotFound"]["code"], "call_not_found" | "route_not_found">,
] = [true, true, true, true, true, true, true, true, true, true];

const PATH = "/v2/calls/{call_id}";
const NOBODYS_CALL = "9223372036854775807";
const [url, key, foreignCall, ...callIds] = process.argv.slice(2);
if (!url || !key || !foreignCall || !callIds[0]) {
  throw new Error("Usage: node read_calls.mjs URL KEY FOREIGN_CALL CALL…");
}

const nobody = createClient<paths>({ baseUrl: url });
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

async function refusal(asking: typeof client, call_id: string): Promise<Schemas["Problem"]["code"] | undefined> {
  const { error } = await asking.GET(PATH, { params: { path: { call_id } } });
  return error?.code;
}

const calls: Record<string, Call> = {};
const unchanged: Record<string, number> = {}; // of calls with a link, the ETag changes with time
for (const call_id of callIds) {
  const { data, error, response } = await client.GET(PATH, { params: { path: { call_id } } });
  if (data === undefined) throw new Error(JSON.stringify(error));
  calls[call_id] = data;
  if (data.recording_url !== null) continue;
  const header = { "If-None-Match": response.headers.get("ETag") ?? "" };
  const again = await client.GET(PATH, { params: { path: { call_id }, header } });
  unchanged[call_id] = again.response.status;
}
const params = { path: { call_id: callIds[0] } };
const exists = await client.HEAD(PATH, { params });
const methods = await nobody.OPTIONS(PATH, { params });

const written = {
  calls,
  unchanged,
  exists: exists.response.status,
  methods: methods.response.headers.get("Allow"),
  forbidden: await refusal(client, foreignCall),
  missing: await refusal(client, NOBODYS_CALL),
  unauthenticated: await refusal(nobody, callIds[0]),
};
process.stdout.write(JSON.stringify(written));
