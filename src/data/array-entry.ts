import type { NpyHeader } from './npy-header.js';
import type { OpenFile } from './open-file.js';

/** An array in a file, whose elements are read on demand. */
export interface ArrayEntry {
  /** The model input that it is for. */
  readonly name: string;
  readonly header: NpyHeader;
  /** How to name the array in messages. */
  readonly where: string;
  /** Where the elements are in the file, unless they are compressed. */
  readonly rawOffset: number | undefined;
  /** All elements as they are in the file; throws QdqError `data-invalid` where they are damaged. */
  readAll(file: OpenFile): Promise<Buffer>;
}
