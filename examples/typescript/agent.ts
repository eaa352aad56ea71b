// An agent in TypeScript: it logs in at `macaw gateway`, calls a tool, and reads a stream. It needs fetch and nothing else.
type Problem = { code: string; reason?: string; detail: string; next: string };
type Ended = { call_id: string; outcome: "ok" | "failed" | "pending"; result?: unknown; error?: string };

const [gateway, token, item] = process.argv.slice(2);

async function ask(method: string, path: string, bearer: string, body?: unknown): Promise<Response> {
  const headers = { authorization: `Bearer ${bearer}`, ...(body ? { "content-type": "application/json" } : {}) };
  const answer = await fetch(gateway + path, { method, headers, body: body ? JSON.stringify(body) : undefined });
  if (answer.ok) return answer;
  const problem = (await answer.json()) as Problem;
  throw new Error(`${problem.code} ${problem.reason ?? ""}: ${problem.detail}; next: ${problem.next}`);
}

const { session, principal } = (await (await ask("POST", "/v1/sessions", token)).json()) as Record<string, string>;
console.log(`logged in as ${principal}`);
try {
  const call = { resource: "tool:shop/buy", parameters: { item }, idempotency_key: `order of ${item}` };
  const bought = (await (await ask("POST", "/v1/calls", session, call)).json()) as Ended;
  console.log(bought.outcome, JSON.stringify(bought.result ?? bought.error ?? bought.call_id));

  const stream = await ask("POST", "/v1/calls/stream", session, { resource: "tool:shop/count", parameters: { to: 3 } });
  let text = "";
  for await (const chunk of stream.body!.pipeThrough(new TextDecoderStream())) text += chunk;
  for (const [, name, data] of text.matchAll(/event: (\w+)\ndata: (.*)\n\n/g)) console.log(name, data);
} catch (problem) {
  console.log((problem as Error).message);
} finally {
  await ask("DELETE", "/v1/sessions/current", session);
}
