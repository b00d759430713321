import { RuntimeHost } from '../../src/runtime/host.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { expressionText } from '../helpers/expression-text.js';
import { fuse } from '../helpers/fuse.js';
import { runModel } from '../helpers/run-model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import { checkGraph } from '../../src/graph/check-graph.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { selectIn, planWith, observe, planText } from './quantize-graph.js';
import { buildRandomGraph, Dice, RANDOM_SHAPES } from './random-graph.js';
const host = new RuntimeHost();
const [from = 0, to = 50, onlyShape] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];
const sqnr = (a: Float64Array, b: Float64Array) => { let s = 0, n = 0; a.forEach((v, i) => { s += v * v; n += (v - b[i]!) ** 2; }); return n === 0 ? Infinity : 10 * Math.log10(s / n); };
let runs = 0, bad = 0;
for (const shape of RANDOM_SHAPES) {
  if (onlyShape && shape !== onlyShape) continue;
  for (let seed = from; seed < to; seed++) {
    const problems: string[] = [];
    let text = '';
    try {
      const opset = seed % 3 === 0 ? 12 : 13;
      const g = new GraphBuilder(opset);
      buildRandomGraph(g, shape, seed);
      const dice = new Dice(seed + 7777);
      const keep = (process.argv[5] === 'exclude') ? (node: { name: string }) => { void node; return dice.roll(4) === 0 ? 'excluded by --exclude' : undefined; } : undefined;
      const whole = await selectIn(host, g.model());
      const selected = keep ? await selectIn(host, g.model(), keep) : whole;
      const { samples, ranges } = await observe(whole, 3);
      const plan = planWith(selected, ranges, (process.argv[6] ? JSON.parse(process.argv[6]) : {}) as object, 'refuse');
      const quantized = applyStaticPlan(selected.prepared.model, plan);
      text = planText(plan).split('\n--')[0]! ;
      problems.push(...checkGraph(quantized.graph));
      const fused = await fuse(quantized);
      text += '\nFUSED ' + expressionText(fused.graph);
      text += '\nQDQ ' + expressionText(quantized.graph);
      const report = integerReport(quantized, fused);
      const planned = new Set(plan.nodes.filter((n) => n.kernel).map((n) => n.name));
      for (const n of report.nodes) if ((n.runsAs === 'integer') !== planned.has(n.name)) problems.push(`${n.name} runs as ${n.runsAs}: ${n.reason}`);
      if (report.danglingQdqNodes) problems.push(`${report.danglingQdqNodes} dangling`);
      const fusedOps = fused.graph.nodes.map((n) => n.opType);
      for (const n of plan.nodes) if (n.kernel?.startsWith('QLinear') && !['Conv', 'MatMul'].includes(n.opType)) { const i = fusedOps.indexOf(n.kernel); if (i < 0) problems.push(`${n.name} planned as ${n.kernel} is not there`); else fusedOps.splice(i, 1); }
      const exact = await runModel(encodeModel(selected.prepared.model), samples[0]!);
      const sim = await runModel(encodeModel(quantized), samples[0]!, { simulateQdq: true });
      const real = await runModel(encodeModel(quantized), samples[0]!);
      for (const [name, v] of exact) {
        const a = sqnr(v, sim.get(name)!), b = sqnr(sim.get(name)!, real.get(name)!);
        if (!(a > 20)) problems.push(`simulated ${name} ${a.toFixed(1)} dB`);
        if (!(b > 30)) problems.push(`kernels ${name} ${b.toFixed(1)} dB`);
      }
    } catch (e) { problems.push('ERROR ' + (e as Error).message.slice(0, 300)); }
    runs++;
    if (problems.length) { bad++; console.log(`##### ${shape} ${seed}\n${text}\n${problems.map((p) => '!! ' + p).join('\n')}`); }
  }
}
console.log(runs, 'runs', bad, 'bad');
await host.close();
