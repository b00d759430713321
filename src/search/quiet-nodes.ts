/** Share of all noise that the nodes make which are set aside as loud. */
const LOUD_SHARE = 0.9;

/**
 * The nodes that are left when the loudest are set aside which make nine tenths of the noise, but no more than half of the nodes. `noise` is power by
 * node name. What suits the loudest decides any comparison of whole models, and they may well stay in float.
 */
export function quietNodes(noise: ReadonlyMap<string, number>): string[] {
  const loudestFirst = [...noise].sort(([, a], [, b]) => b - a);
  const total = loudestFirst.reduce((sum, [, power]) => sum + power, 0);
  let left = total;
  return loudestFirst.flatMap(([name, power], i) => {
    const isQuiet = left <= (1 - LOUD_SHARE) * total || i >= loudestFirst.length / 2;
    left -= power;
    return isQuiet ? [name] : [];
  });
}
