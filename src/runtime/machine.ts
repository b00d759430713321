import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus } from 'node:os';

/** Instruction sets that decide how fast and how exactly integers are multiplied, by their names in /proc/cpuinfo. */
const INSTRUCTION_SETS = ['avx2', 'avx512f', 'avx_vnni', 'avx512_vnni', 'avx_vnni_int8', 'amx_int8', 'asimddp', 'i8mm'] as const;

/** The instruction sets of this machine that matter for integers; empty where the system does not tell. */
export function instructionSets(): string[] {
  let text: string;
  try {
    text = readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return [];
  }
  const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(text)?.[1]?.split(/\s+/) ?? []);
  return INSTRUCTION_SETS.filter((name) => flags.has(name));
}

/** Processor and its instruction sets, for reports: "AMD EPYC, avx2". */
export function describeCpu(): string {
  return [cpus()[0]?.model.trim() ?? arch(), ...instructionSets()].join(', ');
}

/** Whether u8 × s8 products are added without saturating on this machine; undefined where that is not known. */
export function multipliesExactly(): boolean | undefined {
  if (arch() === 'arm64') return true;
  const sets = instructionSets();
  if (arch() !== 'x64' || sets.length === 0) return undefined;
  return sets.some((name) => /vnni|amx_int8/.test(name));
}

/** Name and version of the runtime. */
export function runtimeVersion(): string {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
  return `onnxruntime-node ${version}`;
}
