import type uPlot from 'uplot';
import { clock, date, type Zone } from '../lib/time';

/** Writes the times of an axis in a zone, with the day where it changes. */
export function ticks(zone: Zone): uPlot.Axis.DynamicValues {
  return (_self, splits, _axis, _space, step) => {
    let day = '';
    return splits.map((s) => {
      const d = new Date(s * 1000);
      const today = date(d, zone);
      const first = today !== day;
      day = today;
      if (step >= 86400) return today.slice(5);
      return clock(d, zone, step < 60) + (first ? '\n' + today : '');
    });
  };
}
