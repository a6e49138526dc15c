import { Problem } from './api';

/** What went wrong, whatever was thrown. */
export const problemOf = (e: unknown) => (e instanceof Problem ? e : new Problem(-1, String(e)));

/**
 * An answer of the server that is asked for anew whenever what the question
 * reads has changed; what is shown stays until the new answer is there. The
 * question returns null where there is nothing to ask.
 */
export class Ask<T> {
  value = $state.raw<T | null>(null);
  problem = $state.raw<Problem | null>(null);
  #again = $state(0);

  constructor(question: () => ((signal: AbortSignal) => Promise<T>) | null) {
    $effect(() => {
      void this.#again;
      const ask = question();
      if (!ask) {
        this.value = null;
        this.problem = null;
        return;
      }
      const abort = new AbortController();
      ask(abort.signal).then(
        (v) => {
          if (abort.signal.aborted) return;
          this.value = v;
          this.problem = null;
        },
        (e: unknown) => {
          if (!abort.signal.aborted) this.problem = problemOf(e);
        },
      );
      return () => abort.abort();
    });
  }

  again() {
    this.#again++;
  }
}
