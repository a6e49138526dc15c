import table from '../../../../correlator/attack/attack.tsv?raw';

// ATT&CK for ICS as its matrix stands: what the server's rules know, so that
// both speak of the same edition.

export interface Cell {
  id: string;
  name: string;
}

/** Tactics in the order in which an attack goes through them. */
export const tactics = [
  'Initial Access',
  'Execution',
  'Persistence',
  'Privilege Escalation',
  'Evasion',
  'Discovery',
  'Lateral Movement',
  'Collection',
  'Command and Control',
  'Inhibit Response Function',
  'Impair Process Control',
  'Impact',
] as const;

const lines = table.split('\n').map((l) => l.split('\t'));

/** The techniques of each tactic; those of ICS have numbers that begin with 08. */
export const matrix: Map<string, Cell[]> = new Map(
  tactics.map((tactic) => [tactic, lines.filter(([id = '', , of = '']) => /^T08\d\d$/.test(id) && of.split(';').includes(tactic)).map(([id = '', name = '']) => ({ id, name }))]),
);
