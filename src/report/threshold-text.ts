import type { ThresholdCheck } from '../metrics/thresholds.js';

/** Enough digits that a value just beside its limit does not look equal to it. */
const DIGITS = 6;

/** One line: `min-sqnr is not met: 12.345 dB at output "y", expected at least 20 dB`. */
export function thresholdText({ name, limit, value, met, output }: ThresholdCheck): string {
  const unit = name === 'min-sqnr' ? ' dB' : name === 'min-speedup' || name === 'max-size' ? '×' : '';
  const received = value === null ? 'the figure could not be had' : `${valueText(value, limit)}${unit}`;
  const where = output === null ? '' : ` at output "${output}"`;
  return `${name} is ${met ? '' : 'not '}met: ${received}${where}, expected at ${name.startsWith('min-') ? 'least' : 'most'} ${limit}${unit}`;
}

function valueText(value: number, limit: number): string {
  const rounded = Number(value.toPrecision(DIGITS));
  return String(rounded === limit ? value : rounded);
}
