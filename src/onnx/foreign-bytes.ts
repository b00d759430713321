/** What a file is that is not a model, and what to do about it. */
export interface ForeignBytes {
  readonly what: string;
  readonly hint: string;
}

/** Marks of files that are given in place of a model by mistake: start of the file as text, name, advice. */
const MARKS: readonly (readonly [RegExp, string, string])[] = [
  [
    /^version https:\/\/git-lfs/,
    'a Git LFS pointer (a small text file that stands for the model)',
    'Fetch the model itself with "git lfs pull".',
  ],
  [
    /^\s*(<!doctype html|<html|<\?xml)/i,
    'a web page',
    'The download gave a page instead of the file; check the address (on GitHub use the raw file).',
  ],
  [/^PK\x03\x04/, 'a zip archive', 'Unpack it first. A PyTorch file (.pt, .pth) must be exported to ONNX.'],
  [/^\x1f\x8b/, 'gzip data', 'Unpack it first.'],
  [/^\x80[\x02-\x05]/, 'a Python pickle', 'Export the model to ONNX first, with torch.onnx.export for example.'],
  [/^\x89HDF\r\n/, 'an HDF5 file', 'Convert the Keras model to ONNX first, with tf2onnx for example.'],
  [/^.{4}(ORTM|TFL3)/s, 'a FlatBuffers model (ORT format or TensorFlow Lite)', 'Use the .onnx file that it was made from.'],
  [/^\x93NUMPY/, 'a NumPy array', 'Give the path of an .onnx file.'],
];

/** Recognizes an empty file, text, and common other formats; undefined for anything that may be a model. */
export function describeForeignBytes(bytes: Uint8Array): ForeignBytes | undefined {
  if (bytes.length === 0) return { what: 'an empty file (0 bytes)', hint: 'Copy or export the model again.' };
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 256)).toString('latin1');
  const mark = MARKS.find(([start]) => start.test(head));
  if (mark) return { what: mark[1], hint: mark[2] };
  if (/^[\t\n\r\x20-\x7e\x80-\xff]*$/.test(head)) {
    const line = JSON.stringify(head.split(/[\r\n]/)[0]!.slice(0, 40));
    return { what: `a text file (it starts with ${line})`, hint: 'Give the path of an .onnx file.' };
  }
  return undefined;
}
