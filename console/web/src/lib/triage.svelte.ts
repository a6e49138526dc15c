import * as api from './api';
import { problemOf } from './ask.svelte';
import { t, word } from './prefs.svelte';

export type Question = 'true_positive' | 'false_positive' | 'benign' | 'suppress' | 'assign' | 'incident';

// What is being decided about alerts, and the decision that can be taken back.

class Triage {
  /** What is asked before it can be done, about which alerts. */
  asking = $state.raw<{ question: Question; ids: string[]; sentence: string } | null>(null);
  said = $state('');
  problem = $state.raw<api.Problem | null>(null);
  /** The decision that `undo` takes back. */
  last = $state.raw<api.Action | null>(null);
  /** Grows with every decision made here. */
  decided = $state(0);
  #timer: ReturnType<typeof setTimeout> | undefined;

  ask(question: Question, ids: string[], sentence = '') {
    if (ids.length > 0) this.asking = { question, ids, sentence };
  }

  say(text: string) {
    this.said = text;
    this.problem = null;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.said = ''), 12_000);
  }

  /** Decides; throws what went wrong. */
  async decide(ids: string[], decision: api.Decision) {
    const action = await api.triage({ ids }, decision);
    this.last = action;
    this.decided++;
    const what = decision.verdict
      ? word('verdict.', decision.verdict)
      : decision.assignee !== undefined
        ? decision.assignee
          ? t('triage.assigned', { name: decision.assignee })
          : t('triage.unassigned')
        : word('status.', decision.status ?? 'open');
    this.say(action.failed.length ? t('triage.partly', { n: action.changed, failed: action.failed.length, what }) : t('triage.done', { n: action.changed + action.unchanged, what }));
  }

  /** Decides; says what went wrong. */
  async quick(ids: string[], decision: api.Decision) {
    if (ids.length === 0) return;
    try {
      await this.decide(ids, decision);
    } catch (e) {
      this.problem = problemOf(e);
    }
  }

  async undo() {
    if (!this.last) return;
    try {
      const r = await api.undo(this.last.id);
      this.last = null;
      this.decided++;
      this.say(r.kept.length ? t('triage.undonePartly', { n: r.restored, kept: r.kept.length }) : t('triage.undone', { n: r.restored }));
    } catch (e) {
      this.problem = problemOf(e);
    }
  }

  clear() {
    this.said = '';
    this.problem = null;
  }
}

export const triage = new Triage();
