import type { MessageKey } from '../messages';

// Keys are bound where their action lives, listed on the sheet while they are
// bound, and do nothing while a person types.

export interface Binding {
  keys: string; // as KeyboardEvent.key; two with a space are pressed in turn
  label: MessageKey;
  run: () => void;
  hidden?: boolean; // works, but does not stand on the sheet
}

// Not reactive: the sheet is drawn anew each time it opens.
let bindings: Binding[] = [];

/** Binds keys until the returned function is called; the latest binding wins. */
export function bind(list: Binding[]): () => void {
  bindings = [...list, ...bindings];
  return () => {
    bindings = bindings.filter((b) => !list.includes(b));
  };
}

/** What the sheet shows: each key once, as it would act now. */
export function bound(): Binding[] {
  return bindings.filter((b, i) => !b.hidden && bindings.findIndex((o) => o.keys === b.keys) === i);
}

const patience = 1200; // milliseconds between the keys of a pair
let prefix = '';
let prefixAt = 0;

function typing(e: KeyboardEvent): boolean {
  const el = e.target;
  if (el instanceof HTMLInputElement && /^(checkbox|radio|button)$/.test(el.type)) return false;
  return el instanceof HTMLElement && (el.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(el.tagName));
}

/** Whether something lies over the page and has the keys for itself. */
function covered(e: KeyboardEvent): boolean {
  return e.target instanceof Element && !!e.target.closest('dialog, [role="dialog"], [role="menu"]');
}

/** Whether Enter or space on this element already means something. */
function acts(e: KeyboardEvent): boolean {
  return e.target instanceof Element && !!e.target.closest('button, a, summary, [role="option"]');
}

export function onKey(e: KeyboardEvent) {
  if (e.defaultPrevented || e.isComposing || covered(e)) return;
  if ((e.ctrlKey || e.metaKey) && !e.altKey && !e.shiftKey) {
    // With Control a key means the same wherever one is.
    const found = bindings.find((b) => b.keys === 'Control+' + e.key);
    if (found) {
      e.preventDefault();
      found.run();
    }
    return;
  }
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (typing(e)) {
    if (e.key === 'Escape') (e.target as HTMLElement).blur();
    return;
  }
  if (e.key === 'Enter' && acts(e)) return;
  const pair = prefix && e.timeStamp - prefixAt < patience ? prefix + ' ' + e.key : '';
  prefix = '';
  const found = (pair && bindings.find((b) => b.keys === pair)) || bindings.find((b) => b.keys === e.key);
  if (found) {
    e.preventDefault();
    found.run();
  } else if (bindings.some((b) => b.keys.startsWith(e.key + ' '))) {
    prefix = e.key;
    prefixAt = e.timeStamp;
  }
}
