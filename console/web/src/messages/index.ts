import { en, type MessageKey } from './en';
import { zh } from './zh';

export type { MessageKey } from './en';
export type Language = 'en' | 'zh';
export type Params = Record<string, string | number>;

const catalogue: Record<Language, Record<MessageKey, string>> = { en, zh };

/** What each language is to the browser: html lang, number formats. */
export const locale: Record<Language, string> = { en: 'en', zh: 'zh-CN' };

/** Returns a message with its {names} replaced. */
export function message(language: Language, key: MessageKey, params: Params = {}): string {
  return catalogue[language][key].replace(/\{(\w+)\}/g, (whole, name: string) => {
    const v = params[name];
    if (v === undefined) return whole;
    return typeof v === 'number' ? v.toLocaleString(locale[language]) : v;
  });
}

/** Whether a key made from data, such as a role, is in the catalogue. */
export function isKey(key: string): key is MessageKey {
  return key in en;
}
