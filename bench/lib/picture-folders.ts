import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeNpy } from '../../src/data/encode-npy.js';
import { picture } from '../models/pictures.js';

/** Pictures that differ; larger folders hold them over and over, as links. */
const DIFFERENT = 64;

/** Folders of as many pictures as asked for, as .npy files, by that number. */
export function pictureFolders(folder: string, size: number, counts: readonly number[]): Map<number, string> {
  const originals = Array.from({ length: DIFFERENT }, (_, i) => {
    const path = join(folder, `picture${i}.npy`);
    writeFileSync(path, encodeNpy(picture(size, i + 1)));
    return path;
  });
  const folders = new Map<number, string>();
  for (const count of new Set(counts)) {
    const path = join(folder, `pictures${count}`);
    mkdirSync(path);
    for (let i = 0; i < count; i++) linkSync(originals[i % DIFFERENT]!, join(path, `${String(i).padStart(6, '0')}.npy`));
    folders.set(count, path);
  }
  return folders;
}
