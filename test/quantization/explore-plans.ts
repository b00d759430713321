import { RuntimeHost } from '../../src/runtime/host.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { expressionText } from '../helpers/expression-text.js';
import { fuse } from '../helpers/fuse.js';
import { runModel } from '../helpers/run-model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import { checkGraph } from '../../src/graph/check-graph.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { CONVOLUTION_CASES } from './plan-cases.js';
import { PRODUCT_CASES } from './plan-cases-products.js';
import { selectIn, planWith, observe, planText } from './quantize-graph.js';
const host = new RuntimeHost();
const only = process.argv[2];
function sqnr(a: Float64Array, b: Float64Array) { let s = 0, n = 0; a.forEach((v, i) => { s += v * v; n += (v - b[i]!) ** 2; }); return 10 * Math.log10(s / n); }
for (const row of [...CONVOLUTION_CASES, ...PRODUCT_CASES]) {
  if (only && !row.name.includes(only)) continue;
  console.log(`##### ${row.name}`);
  try {
    const g = new GraphBuilder(row.opset);
    row.build(g);
    const model = g.model();
    const selected = await selectIn(host, model, (node) => row.exclude?.includes(node.name) ? 'excluded by --exclude' : undefined);
    console.log(planText(planWith(selected, row.ranges, row.options)));
    const { samples, ranges } = await observe(selected);
    const plan = planWith(selected, ranges, row.options);
    const quantized = applyStaticPlan(selected.prepared.model, plan);
    for (const problem of checkGraph(quantized.graph)) console.log('PROBLEM', problem);
    const fused = await fuse(quantized);
    console.log('FUSED', expressionText(fused.graph));
    const report = integerReport(quantized, fused);
    console.log(`INTEGER ${report.integerNodes}/${report.computeNodes} dangling ${report.danglingQdqNodes}`);
    const sim = await runModel(encodeModel(quantized), samples[0]!, { simulateQdq: true });
    const real = await runModel(encodeModel(quantized), samples[0]!);
    const exact = await runModel(encodeModel(selected.prepared.model), samples[0]!);
    for (const [name, v] of exact) console.log(`SQNR ${name} simulated ${sqnr(v, sim.get(name)!).toFixed(1)} real ${sqnr(v, real.get(name)!).toFixed(1)} real/simulated ${sqnr(sim.get(name)!, real.get(name)!).toFixed(1)}`);
  } catch (e) { console.log('ERROR', (e as Error).message); }
}
await host.close();
