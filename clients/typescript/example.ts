// Convene a council over what a pack says, with the types of the schema: `tsc --project .` compiles it.
import type { components, operations, paths } from "./quorum";

type Council = components["schemas"]["SessionOut"];
type Problem = components["schemas"]["Problem"];
type Plan = operations["council_sessions_create"]["requestBody"]["content"]["application/json"];
type Page = paths["/api/council-sessions"]["get"]["responses"][200]["content"]["application/json"];

/** What the API refused: `problem.code` tells the cases apart. */
class Refused extends Error {
  constructor(readonly problem: Problem, readonly retryAfter: number | null) {
    super(`${problem.status} ${problem.code}: ${problem.detail}`);
  }
}

async function ask<T>(base: string, key: string, path: string, init: RequestInit = {}): Promise<T> {
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", ...init.headers };
  const answer = await fetch(base + path, { ...init, headers });
  if (!answer.ok) {
    const wait = answer.headers.get("Retry-After");
    throw new Refused((await answer.json()) as Problem, wait === null ? null : Number(wait));
  }
  return (await answer.json()) as T;
}

/** Once, however often it is called with the same `once`. */
export function convene(base: string, key: string, plan: Plan, once: string): Promise<Council> {
  const init = { method: "POST", body: JSON.stringify(plan), headers: { "Idempotency-Key": once } };
  return ask<Council>(base, key, "/api/council-sessions", init);
}

/** Every council of the caller, page by page. */
export async function* councils(base: string, key: string): AsyncGenerator<Page["results"][number]> {
  let path: string | null = "/api/council-sessions?limit=200";
  while (path !== null) {
    const page: Page = await ask<Page>(base, key, path);
    yield* page.results;
    path = page.next === null ? null : new URL(page.next).pathname + new URL(page.next).search;
  }
}
