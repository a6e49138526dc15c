import { bind } from './keys';
import { route } from './route.svelte';

/**
 * Moves among the rows of a short list with the keyboard: j and k choose, Enter
 * opens. The row has the id `row-` and its place.
 */
export class Rows<T> {
  at = $state(-1);

  constructor(
    private items: () => T[],
    private key: (x: T) => string,
  ) {
    $effect(() => {
      if (route.id) this.at = this.items().findIndex((x) => this.key(x) === route.id);
    });
    $effect(() =>
      bind([
        { keys: 'j', label: 'key.next', run: () => this.#move(1) },
        { keys: 'k', label: 'key.previous', run: () => this.#move(-1) },
        { keys: 'Enter', label: 'key.open', run: () => this.open(this.items()[this.at]) },
      ]),
    );
  }

  get chosen(): T | undefined {
    return this.items()[this.at];
  }

  #move(by: number) {
    const n = this.items().length;
    if (n === 0) return;
    this.at = Math.max(0, Math.min(n - 1, this.at + by));
    document.getElementById('row-' + this.at)?.scrollIntoView({ block: 'nearest' });
    if (route.id) this.open(this.chosen);
  }

  open(x: T | undefined) {
    if (x) route.go(route.with({}, this.key(x)), route.id !== '');
  }
}
