import { isKey, locale, message, type Language, type MessageKey, type Params } from '../messages';
import type { Zone } from './time';

// What a person prefers, kept in this browser; the language may also stand in
// the URL, which wins.

type Theme = 'dark' | 'light';

function stored(name: string): string | null {
  try {
    return localStorage.getItem('tocsin.' + name);
  } catch {
    return null; // storage is forbidden; preferences last as long as the page
  }
}

function store(name: string, value: string) {
  try {
    localStorage.setItem('tocsin.' + name, value);
  } catch {
    // See stored.
  }
}

function firstLanguage(): Language {
  const asked = new URLSearchParams(location.search).get('lang');
  if (asked === 'en' || asked === 'zh') {
    store('language', asked);
    return asked;
  }
  const s = stored('language');
  if (s === 'en' || s === 'zh') return s;
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

function firstTheme(): Theme {
  const s = stored('theme');
  if (s === 'dark' || s === 'light') return s;
  return matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark';
}

class Prefs {
  language = $state<Language>(firstLanguage());
  theme = $state<Theme>(firstTheme());
  zone = $state<Zone>(stored('zone') === 'local' ? 'local' : 'utc');

  /** Shows the preferences on the document. */
  apply() {
    document.documentElement.lang = locale[this.language];
    document.documentElement.dataset.theme = this.theme;
  }

  toggleLanguage() {
    this.language = this.language === 'en' ? 'zh' : 'en';
    store('language', this.language);
    const url = new URL(location.href);
    if (url.searchParams.has('lang')) {
      url.searchParams.set('lang', this.language);
      history.replaceState(history.state, '', url);
    }
  }

  toggleTheme() {
    this.theme = this.theme === 'dark' ? 'light' : 'dark';
    store('theme', this.theme);
  }

  toggleZone() {
    this.zone = this.zone === 'utc' ? 'local' : 'utc';
    store('zone', this.zone);
  }

  /** The zone's own name, as the browser knows it. */
  get zoneName(): string {
    return this.zone === 'utc' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone;
  }
}

export const prefs = new Prefs();

/** A message in the chosen language. */
export const t = (key: MessageKey, params?: Params) => message(prefs.language, key, params);

/** A message whose key ends in a word from data; the word itself if there is none. */
export function word(prefix: string, value: string): string {
  const key = prefix + value;
  return isKey(key) ? t(key) : value;
}

export const number = (n: number) => n.toLocaleString(locale[prefs.language]);
