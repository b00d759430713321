import { roundHalfEven } from '../tensor/round-half-even.js';
import { fitRange, largestInteger, type BlockParameters, type FitBlock } from './weight-only-rounding.js';

/** Exponent of the norm of errors that is made small: below 1, so that few large errors weigh less than many small ones. */
const NORM = 0.7;
/** Weight of the penalty between an error and the part of it that is given up, at the start and its growth from step to step. */
const PENALTY = 1;
const GROWTH = 1.3;
const STEPS = 6;
/** Shares of the full range that the search starts from; what lies outside is clamped. */
const STARTS = [1, 0.92, 0.84, 0.75] as const;

/**
 * Half-quadratic quantization, without data: errors are split into a part e that is given up, e = shrink(w − scale · (q − zero)), and the rest, for
 * which scale and zero point have a closed form; both are found in turns. Of all steps, round to nearest among them, the one with the
 * least squared error stays, so that no block gets worse. Zero points are whole numbers, as integer kernels want them.
 * Source: Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023), with the scale optimized too.
 */
export const fitHalfQuadratic: FitBlock = (values, from, count, format, found) => {
  fitRange(values, from, count, format, found);
  if (Number.isNaN(found.scale)) return;
  const largest = largestInteger(format);
  const { scale, zeroPoint } = found;
  let least = squaredError(values, from, count, found, largest);
  const trial: BlockParameters = { scale, zeroPoint };
  for (const share of STARTS) {
    trial.scale = Math.fround(scale * share);
    trial.zeroPoint = zeroPoint;
    let penalty = PENALTY;
    for (let step = 0; step < STEPS && least > 0; step++, penalty *= GROWTH) {
      if (!improve(values, from, count, trial, largest, penalty, format.symmetric)) break;
      const error = squaredError(values, from, count, trial, largest);
      if (!(error < least)) continue;
      least = error;
      found.scale = trial.scale;
      found.zeroPoint = trial.zeroPoint;
    }
  }
};

/** One turn: integers and given-up errors from the parameters, then the parameters from those. False where nothing is left to fit. */
function improve(values: ArrayLike<number>, from: number, count: number, trial: BlockParameters, largest: number, penalty: number, keepZero: boolean): boolean {
  const { scale, zeroPoint } = trial;
  let [products, squares, sumIntegers, sumTargets] = [0, 0, 0, 0];
  for (let i = from; i < from + count; i++) {
    const scaled = values[i]! / scale;
    const level = integerOf(scaled, zeroPoint, largest) - zeroPoint;
    const target = scaled - shrink(scaled - level, penalty);
    products += target * level;
    squares += level * level;
    sumIntegers += level;
    sumTargets += target;
  }
  if (squares === 0) return false;
  if (keepZero) {
    trial.scale = Math.fround((scale * products) / squares);
    return usable(trial.scale);
  }
  // Least squares of target ≈ a · level + b; the line crosses zero at the level −b / a, which moves the zero point.
  const spread = count * squares - sumIntegers * sumIntegers;
  const slope = spread === 0 ? products / squares : (count * products - sumIntegers * sumTargets) / spread;
  const offset = (sumTargets - slope * sumIntegers) / count;
  const moved = Math.min(largest, Math.max(0, roundHalfEven(zeroPoint - offset / slope)));
  // With the zero point a whole number again, the scale follows from it.
  const shift = zeroPoint - moved;
  const [crossed, lengths] = [products + shift * sumTargets, squares + 2 * shift * sumIntegers + count * shift * shift];
  if (lengths === 0) return false;
  trial.zeroPoint = moved;
  trial.scale = Math.fround((scale * crossed) / lengths);
  return usable(trial.scale);
}

const usable = (scale: number) => Number.isFinite(scale) && Math.abs(scale) >= 2 ** -126;

/** The part of an error that is given up: sign(x) · max(0, |x| − |x|^(p − 1) / penalty). */
function shrink(error: number, penalty: number): number {
  const size = Math.abs(error);
  // Errors of rounding alone are at most a half, and none of them is given up at the start.
  if (size <= 0.5) return 0;
  return Math.sign(error) * Math.max(0, size - size ** (NORM - 1) / penalty);
}

function integerOf(scaled: number, zeroPoint: number, largest: number): number {
  const integer = roundHalfEven(Math.fround(scaled)) + zeroPoint;
  return integer < 0 ? 0 : integer > largest ? largest : integer;
}

function squaredError(values: ArrayLike<number>, from: number, count: number, { scale, zeroPoint }: BlockParameters, largest: number): number {
  let sum = 0;
  for (let i = from; i < from + count; i++) sum += (values[i]! - scale * (integerOf(values[i]! / scale, zeroPoint, largest) - zeroPoint)) ** 2;
  return sum;
}
