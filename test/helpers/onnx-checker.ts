import { spawnSync } from 'node:child_process';

const SCRIPT = `
import sys, json, onnx
problems = {}
for path in sys.argv[1:]:
    try:
        onnx.checker.check_model(path)
    except Exception as error:
        problems[path] = str(error)
print(json.dumps(problems))
`;

/** A Python with the onnx package: `QDQ_PYTHON`, or the one on the path; undefined where there is none. */
const python = [process.env['QDQ_PYTHON'], 'python3'].find((command) => command && spawnSync(command, ['-c', 'import onnx']).status === 0);

/** For `skip` of tests that need it. */
export const noOnnxChecker: string | false = python ? false : 'no Python with the package onnx; set QDQ_PYTHON to one';

/** What onnx.checker says against model files, by path; nothing where all are valid. */
export function checkerProblems(paths: readonly string[]): Record<string, string> {
  const { stdout, stderr, status } = spawnSync(python!, ['-c', SCRIPT, ...paths], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, string>;
}
