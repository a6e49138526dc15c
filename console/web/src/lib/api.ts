// The server's API, /openapi.json in TypeScript. Nothing here asks any other
// server.

/** A record is an event or alert: nested ECS. Read it with lib/record. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Rec = { [key: string]: Json };

export interface RecordPage {
  items: Rec[];
  next?: string;
}
export interface Bucket {
  time?: string;
  value?: string;
  count: number;
}
export interface Counts {
  from: string;
  to: string;
  interval_ms?: number;
  buckets: Bucket[];
}
export interface Facet {
  field: string;
  values: Bucket[];
}
export interface FieldDoc {
  name: string;
  type: string;
  help: string;
  class: string;
}
export interface AlertDetail {
  alert: Rec;
  evidence: Rec[];
  missing: string[];
}
export interface SensorStatus {
  name: string;
  newest: string;
  seen: number;
  decoded: number;
  filtered: number;
  dropped: number;
  causes: Bucket[];
  events: number;
}
export interface Format {
  name: string;
  ext: string;
  mime: string;
}
export interface Status {
  version: string;
  from?: string;
  to?: string;
  alerts: number;
  events: number;
  sensors: SensorStatus[];
  formats: Format[];
}
export interface Technique {
  id: string;
  name: string;
  tactics: string[];
}
export interface Reason {
  text: string;
  weight: number;
}
export interface Hop {
  from: string;
  to: string;
  port?: number;
  transport?: string;
  protocol?: string;
  start: string;
  end: string;
  flows: number;
  bytes: number;
  role: string;
  techniques: Technique[];
  confidence: number;
  reasons: Reason[];
  evidence: string[];
  sensors: string[];
}
export interface Node {
  address: string;
  name?: string;
  zone?: string;
  role: string;
  first: string;
  last: string;
}
export interface Step {
  time: string;
  id: string;
  text: string;
  severity: number;
  from?: string;
  to?: string;
  techniques: Technique[];
}
export interface Trace {
  seed: string;
  title: string;
  from: string;
  to: string;
  origin?: string;
  target?: string;
  path: Hop[];
  branches: Hop[];
  nodes: Node[];
  steps: Step[];
  rejected: Hop[];
  loss: number;
  missing: string[];
}
export interface Judgement {
  status?: 'open' | 'acknowledged' | 'closed';
  verdict?: '' | 'true_positive' | 'false_positive' | 'benign';
  reason?: string;
}

/** An error as the server told it (RFC 9457), or status 0 where it did not answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** Where a query's text stopped making sense, from 1. */
    readonly column?: number,
  ) {
    super(message);
  }
}

export type Params = Record<string, string | number | undefined>;

function address(path: string, params: Params): string {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) {
    if (v !== undefined && v !== '') p.set(k, String(v));
  }
  const q = p.toString();
  return '/api/v1/' + path + (q ? '?' + q : '');
}

async function ask<T>(url: string, init: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (e) {
    if (init.signal?.aborted) throw e;
    throw new Problem(0, '');
  }
  if (response.ok) return (await response.json()) as T;
  let detail = response.statusText;
  let column: number | undefined;
  try {
    const p = (await response.json()) as { detail?: string; column?: number; errors?: { message?: string }[] };
    detail = [p.detail, ...(p.errors ?? []).map((e) => e.message)].filter(Boolean).join('; ') || detail;
    column = p.column;
  } catch {
    // Not a problem document; the status line has to do.
  }
  throw new Problem(response.status, detail, column);
}

const get = <T>(path: string, params: Params, signal?: AbortSignal) => ask<T>(address(path, params), { signal: signal ?? null });

export type Kind = 'alerts' | 'events';

export const status = (signal?: AbortSignal) => get<Status>('status', {}, signal);
export const fields = () => get<FieldDoc[]>('fields', {});
export const search = (kind: Kind, params: Params, signal?: AbortSignal) => get<RecordPage>(kind, params, signal);
export const counts = (params: Params, signal?: AbortSignal) => get<Counts>('counts', params, signal);
export const facets = (params: Params, signal?: AbortSignal) => get<Facet[]>('facets', params, signal);
export const alert = (id: string, signal?: AbortSignal) => get<AlertDetail>('alerts/' + encodeURIComponent(id), {}, signal);
export const event = (id: string, signal?: AbortSignal) => get<Rec>('events/' + encodeURIComponent(id), {}, signal);
export const trace = (seed: string, params: Params, signal?: AbortSignal) =>
  get<Trace>('traces/' + encodeURIComponent(seed), params, signal);
export const exportAddress = (seed: string, format: string, params: Params) =>
  address('traces/' + encodeURIComponent(seed) + '/' + encodeURIComponent(format), params);

export const judge = (id: string, j: Judgement) =>
  ask<Rec>(address('alerts/' + encodeURIComponent(id), {}), {
    method: 'PATCH',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(j),
  });
