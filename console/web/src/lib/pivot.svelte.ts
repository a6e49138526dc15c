import type { Page } from './route.svelte';

/** A value to go on from, and where on the screen it stands. */
export interface Pivot {
  field: string;
  value: string;
  page: Page; // whose query `only` and `without` change
  anchor: HTMLElement;
}

// One menu serves every value: a table shows thousands.
class PivotMenu {
  at = $state.raw<Pivot | null>(null);

  open(p: Pivot) {
    this.at = p;
  }

  /** Opens on the value that has the focus, else on the first in the open panel or chosen row. */
  openHere() {
    const near = document.activeElement?.closest<HTMLElement>('[data-pivot]');
    const el = near ?? this.#first('article.detail') ?? this.#first('[role="row"][aria-selected="true"]');
    if (el) this.openOn(el);
  }

  #first(inside: string): HTMLElement | null {
    return document.querySelector<HTMLElement>(`${inside} [data-pivot*="source"]`) ?? document.querySelector<HTMLElement>(`${inside} [data-pivot]`);
  }

  openOn(el: HTMLElement) {
    const { pivot, value, page } = el.dataset;
    if (pivot !== undefined && value !== undefined) this.open({ field: pivot, value, page: (page as Page | undefined) ?? 'events', anchor: el });
  }

  close() {
    this.at?.anchor.focus();
    this.at = null;
  }
}

export const pivots = new PivotMenu();
