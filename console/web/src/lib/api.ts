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
  related?: Rec[];
  incidents?: { id: string; title: string; state: IncidentState }[];
  suppressions?: Suppression[];
  hosts?: Party[];
}

/** What is known of an address that took part. */
export interface Party {
  address: string;
  name?: string;
  zone?: string;
  role?: string;
  sector?: string;
  level?: number;
}

export type Level = 'critical' | 'high' | 'medium' | 'low' | 'informational';

export interface Summary {
  total: number;
  suppressed: number;
  from: string;
  to: string;
  interval_ms: number;
  histogram: Bucket[];
  facets: Facet[];
}

export interface Group {
  value: string;
  name?: string;
  count: number;
  open: number;
  severity: number;
  first: string;
  last: string;
  newest: string; // id of the newest alert
  sources: number;
  targets: number;
}

export interface Decision {
  status?: 'open' | 'acknowledged' | 'closed';
  verdict?: '' | 'true_positive' | 'false_positive' | 'benign';
  reason?: string;
  assignee?: string;
}

export interface Action {
  id: string;
  at: string;
  by: string;
  decision: Decision;
  changed: number;
  unchanged: number;
  failed: { id: string; detail: string }[];
  undone: boolean;
}

export interface Suppression {
  id: string;
  q: string;
  reason: string;
  by: string;
  at: string;
  expires: string;
  expired: boolean;
  hits: number;
  last_hit?: string;
}

export interface Packet {
  time: string;
  sensor: string;
  interface?: string;
  length: number;
  hex: string;
  source?: string;
  destination?: string;
  protocol?: string;
}

export interface Completion {
  from: number;
  to: number; // the characters that an item replaces
  items: { text: string; kind: 'field' | 'value' | 'operator'; help?: string; count?: number }[];
  sampled: boolean;
}

export interface Talkers {
  from: string;
  to: string;
  baseline_from?: string;
  looked_at: number;
  complete: boolean;
  nodes: Talker[];
  edges: Conversation[];
}

export interface Talker {
  address: string;
  name?: string;
  zone?: string;
  role?: string;
  flows: number;
  bytes: number;
  new: boolean;
}

export interface Conversation {
  source: string;
  target: string;
  protocols: string[];
  ports: number[];
  flows: number;
  bytes: number;
  first: string;
  last: string;
  new: boolean;
}

export interface Count {
  value: string;
  name?: string;
  count: number;
}

export interface Situation {
  from: string;
  to: string;
  interval_ms: number;
  level: 'none' | 'blue' | 'yellow' | 'orange' | 'red';
  because?: string; // id of the alert
  open: Partial<Record<Level, number>>;
  unassigned: number;
  incidents: Partial<Record<IncidentState, number>>;
  histogram: Bucket[];
  sectors: Count[];
  zones: Count[];
  sources: Count[];
  targets: Count[];
  rules: Count[];
  techniques: { id: string; name: string; tactics: string[]; count: number; last: string }[];
  unseen: {
    loss: number;
    seen: number;
    dropped: number;
    silent: string[];
    blind: Count[]; // flows that nothing could read, by transport/port
    causes: Count[];
  };
}

export interface Sensor {
  name: string;
  newest: string;
  silent_s: number;
  seen: number;
  decoded: number;
  filtered: number;
  dropped: number;
  events: number;
  off: number; // seen - decoded - filtered - dropped
  loss: number;
  causes: Count[];
  other: Count[];
  minutes: { time: string; seen: number; decoded: number; filtered: number; dropped: number; events: number }[];
  tap?: Rec;
  clock?: { source?: string; synchronized?: boolean; error_ns?: number; offset_ns?: number };
}

export const states = ['report', 'assess', 'respond', 'recover', 'learn', 'closed'] as const;
export type IncidentState = (typeof states)[number];

export interface Task {
  id: number;
  phase: string;
  title: { en: string; zh: string };
  done: boolean;
  by?: string;
  at?: string;
  assignee?: string;
  note?: string;
}

export interface Incident {
  id: string;
  revision: number;
  title: string;
  type: string;
  severity: number;
  state: IncidentState;
  owner?: string;
  summary?: string;
  lessons?: string;
  by: string;
  created: string;
  changed: string;
  closed?: string;
  merged_into?: string;
  split_from?: string;
  alerts: string[];
  assets: string[];
  pins: string[];
  tasks: Task[];
  comments: { id: number; by: string; at: string; text: string }[];
  history: { at: string; by: string; what: string; from?: string; to?: string }[];
}

export interface Moment {
  time: string;
  kind: 'alert' | 'event' | 'comment' | 'change' | 'task';
  by?: string;
  id?: string;
  text: string;
  severity?: number;
  record?: Rec;
}

export interface IncidentType {
  name: string;
  title: { en: string; zh: string };
  tasks: { phase: string; en: string; zh: string }[];
}

export interface Search {
  id: string;
  name: string;
  q: string;
  set: Kind;
  last?: string;
  columns?: string[];
  shared: boolean;
  by: string;
  changed: string;
}

export interface Host {
  addresses: string[];
  name?: string;
  zone?: string;
  trust?: string;
  role?: string;
  sector?: string;
  owner?: string;
  level?: number;
  vendor?: string;
  model?: string;
  firmware?: string;
  macs?: string[];
  makers?: string[];
  software?: string[];
  uses?: string[];
  services?: { transport: string; port: number; protocol?: string; flows: number }[];
  sensors: string[];
  events: number;
  clients: number;
  servers: number;
  first: string;
  last: string;
}

export interface Rule {
  id: string;
  title: string;
  description?: string;
  level: string;
  file?: string;
  state: string;
  techniques: string[];
  references?: string[];
  exceptions: number;
  seen: number;
  matches: number;
  alerts: number;
  spent_ms: number;
  last_true?: string;
  last_false?: string;
  correlation: boolean;
  text?: string;
  fires?: Rec[];
  quiet?: Rec[];
}

export interface Backtest {
  seen: number;
  matches: number;
  alerts: number;
  days: { day: string; matches: number; alerts: number }[];
  groups: Count[];
  complete: boolean;
}

export interface Feed {
  name: string;
  kind: 'feed' | 'list';
  values: number;
  tried?: string;
  changed?: string;
  next?: string;
  problem?: string;
  path?: string;
}

export interface Lookup {
  listed: boolean;
  confidence: number;
  claims: { list: string; value: string; confidence: number; age_days?: number; description?: string; reference?: string; tlp?: string }[];
}

export const roles = ['viewer', 'analyst', 'responder', 'auditor', 'administrator'] as const;
export type Role = (typeof roles)[number];

export interface Person {
  name: string;
  display?: string;
  roles: Role[];
  permissions: string[];
}

export interface Session {
  mode: 'local' | 'sign-in';
  user?: Person;
  csrf?: string;
  expires?: string;
  ways: ('password' | 'oidc')[];
  oidc_name?: string;
  setup: boolean;
  version: string;
}

export interface User {
  name: string;
  display?: string;
  roles: Role[];
  disabled: boolean;
  source: 'local' | 'oidc';
  created: string;
  last_sign_in?: string;
}

export interface Token {
  id: string;
  name: string;
  user: string;
  scopes: string[];
  created: string;
  expires: string;
  last_used?: string;
  secret?: string;
}

export interface Entry {
  seq: number;
  time: string;
  actor: string;
  via: 'page' | 'token' | 'command' | 'server';
  from?: string;
  action: string;
  target?: string;
  detail?: Record<string, string>;
  outcome: 'ok' | 'refused' | 'failed';
  hash: string;
}

export interface Verified {
  intact: boolean;
  entries: number;
  head: string;
  problems: { line: number; text: string }[];
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

let csrf = '';

/** Told what a request needs that changes something; see Session. */
export const prove = (token: string | undefined) => (csrf = token ?? '');

/** Called when the server says that nobody is signed in (any more). */
export const denied: { call: () => void } = { call: () => undefined };

async function ask<T>(url: string, init: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (e) {
    if (init.signal?.aborted) throw e;
    throw new Problem(0, '');
  }
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  let detail = response.statusText;
  let column: number | undefined;
  try {
    const p = (await response.json()) as { detail?: string; column?: number; errors?: { message?: string }[] };
    detail = [p.detail, ...(p.errors ?? []).map((e) => e.message)].filter(Boolean).join('; ') || detail;
    column = p.column;
  } catch {
    // Not a problem document; the status line has to do.
  }
  if (response.status === 401 && !url.endsWith('/session')) denied.call();
  throw new Problem(response.status, detail, column);
}

const get = <T>(path: string, params: Params = {}, signal?: AbortSignal) => ask<T>(address(path, params), { signal: signal ?? null });

function send<T>(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = csrf ? { 'X-Tocsin-CSRF': csrf } : {};
  if (body === undefined) return ask<T>(address(path, {}), { method, headers });
  return ask<T>(address(path, {}), { method, headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
}

const part = encodeURIComponent;

export type Kind = 'alerts' | 'events';
export interface Items<T> {
  items: T[];
  next?: string;
}

/** What is wanted of records: a query and its time, as the address has them. */
export interface Selection {
  q?: string;
  from?: string;
  to?: string;
}

export const session = () => get<Session>('session');
export const signIn = (name: string, password: string) => send<Session>('POST', 'session', { name, password });
export const signOut = () => send<undefined>('DELETE', 'session');
export const setUp = (code: string, name: string, password: string) => send<Session>('POST', 'session/setup', { code, name, password });
export const changePassword = (old: string, fresh: string) => send<undefined>('PUT', 'session/password', { old, new: fresh });
export const oidcAddress = (back: string) => address('session/oidc', { return: back });
export const users = (signal?: AbortSignal) => get<Items<User>>('users', {}, signal);
export const createUser = (u: { name: string; display?: string; roles: Role[]; password: string }) => send<User>('POST', 'users', u);
export const changeUser = (name: string, u: { display?: string; roles?: Role[]; password?: string; disabled?: boolean }) =>
  send<User>('PATCH', 'users/' + part(name), u);
export const tokens = (all: boolean, signal?: AbortSignal) => get<Items<Token>>('tokens', { all: all ? 'true' : undefined }, signal);
export const createToken = (t: { name: string; scopes: string[]; days: number }) => send<Token>('POST', 'tokens', t);
export const revokeToken = (id: string) => send<undefined>('DELETE', 'tokens/' + part(id));
export const audit = (params: Params, signal?: AbortSignal) => get<Items<Entry>>('audit', params, signal);
export const verifyAudit = () => get<Verified>('audit/verify');

export const status = (signal?: AbortSignal) => get<Status>('status', {}, signal);
export const fields = () => get<FieldDoc[]>('fields');
export const search = (kind: Kind, params: Params, signal?: AbortSignal) => get<RecordPage>(kind, params, signal);
export const summary = (params: Params, signal?: AbortSignal) => get<Summary>('alerts/summary', params, signal);
export const groups = (params: Params, signal?: AbortSignal) => get<Items<Group> & { groups: number }>('alerts/groups', params, signal);
export const counts = (params: Params, signal?: AbortSignal) => get<Counts>('counts', params, signal);
export const facets = (params: Params, signal?: AbortSignal) => get<Facet[]>('facets', params, signal);
export const complete = (params: Params, signal?: AbortSignal) => get<Completion>('complete', params, signal);
export const alert = (id: string, signal?: AbortSignal) => get<AlertDetail>('alerts/' + part(id), {}, signal);
export const event = (id: string, signal?: AbortSignal) => get<Rec>('events/' + part(id), {}, signal);
export const packets = (id: string, signal?: AbortSignal) => get<{ packets: Packet[]; missing: string[] }>('events/' + part(id) + '/packets', {}, signal);
export const talkers = (params: Params, signal?: AbortSignal) => get<Talkers>('talkers', params, signal);
export const exportAddress = (params: Params) => address('export', params);
export const trace = (seed: string, params: Params, signal?: AbortSignal) => get<Trace>('traces/' + part(seed), params, signal);
export const traceFile = (seed: string, format: string, params: Params) => address('traces/' + part(seed) + '/' + part(format), params);

export const triage = (what: { ids?: string[]; selection?: Selection }, decision: Decision) => send<Action>('POST', 'triage', { ...what, decision });
export const undo = (action: string) => send<{ restored: number; kept: string[] }>('POST', 'triage/' + part(action) + '/undo');
export const suppressions = (signal?: AbortSignal) => get<Items<Suppression>>('suppressions', {}, signal);
export const suppress = (s: { q?: string; alert?: string; scope?: string; reason: string; expires: string }) => send<Suppression>('POST', 'suppressions', s);
export const unsuppress = (id: string) => send<undefined>('DELETE', 'suppressions/' + part(id));

export const situation = (params: Params, signal?: AbortSignal) => get<Situation>('situation', params, signal);
export const sensors = (params: Params, signal?: AbortSignal) => get<Items<Sensor>>('sensors', params, signal);

export const incidents = (params: Params, signal?: AbortSignal) => get<Items<Incident>>('incidents', params, signal);
export const incident = (id: string, signal?: AbortSignal) => get<Incident>('incidents/' + part(id), {}, signal);
export const createIncident = (i: { title: string; type: string; severity?: number; summary?: string; alerts?: string[]; assets?: string[] }) =>
  send<Incident>('POST', 'incidents', i);
export type IncidentChange = Partial<Pick<Incident, 'title' | 'summary' | 'severity' | 'type' | 'owner' | 'state' | 'lessons' | 'revision'>>;
export const changeIncident = (id: string, c: IncidentChange) => send<Incident>('PATCH', 'incidents/' + part(id), c);
export const link = (id: string, l: { alerts?: string[]; assets?: string[]; remove?: boolean }) => send<Incident>('POST', `incidents/${part(id)}/links`, l);
export const pin = (id: string, p: { events: string[]; remove?: boolean }) => send<Incident>('POST', `incidents/${part(id)}/pins`, p);
export const comment = (id: string, text: string) => send<Incident>('POST', `incidents/${part(id)}/comments`, { text });
export const addTask = (id: string, title: string) => send<Incident>('POST', `incidents/${part(id)}/tasks`, { title });
export const changeTask = (id: string, task: number, c: { done?: boolean; title?: string; assignee?: string; note?: string }) =>
  send<Incident>('PATCH', `incidents/${part(id)}/tasks/${task}`, c);
export const merge = (id: string, from: string[]) => send<Incident>('POST', `incidents/${part(id)}/merge`, { from });
export const split = (id: string, s: { title: string; alerts: string[]; assets?: string[] }) => send<Incident>('POST', `incidents/${part(id)}/split`, s);
export const timeline = (id: string, signal?: AbortSignal) => get<Items<Moment>>(`incidents/${part(id)}/timeline`, {}, signal);
export const reportAddress = (id: string, format: 'html' | 'json', lang: string) => address(`incidents/${part(id)}/report`, { format, lang });
export const incidentTypes = (signal?: AbortSignal) => get<Items<IncidentType>>('incident-types', {}, signal);

export const searches = (signal?: AbortSignal) => get<Items<Search>>('searches', {}, signal);
export const saveSearch = (s: Pick<Search, 'name' | 'q' | 'set' | 'shared'> & { last?: string }) => send<Search>('POST', 'searches', s);
export const dropSearch = (id: string) => send<undefined>('DELETE', 'searches/' + part(id));
export const ruleOf = (r: { q: string; title: string; level?: string }) => send<{ yaml: string; left_out: string[] }>('POST', 'searches/rule', r);

export const assets = (params: Params, signal?: AbortSignal) => get<Items<Host> & { left: number }>('assets', params, signal);
export const rules = (signal?: AbortSignal) => get<Items<Rule>>('rules', {}, signal);
export const rule = (id: string, signal?: AbortSignal) => get<Rule>('rules/' + part(id), {}, signal);
export const backtest = (b: { q?: string; yaml?: string; rule?: string; from?: string; to?: string; top?: number }) => send<Backtest>('POST', 'rules/backtest', Object.fromEntries(Object.entries(b).filter(([, v]) => v !== '')));
export const reputation = (signal?: AbortSignal) => get<{ values: number; feeds: Feed[] }>('reputation', {}, signal);
export const lookup = (value: string, signal?: AbortSignal) => get<Lookup>('reputation/lookup', { value }, signal);
