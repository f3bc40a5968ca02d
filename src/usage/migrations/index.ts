import { initial } from './0001-initial.ts';

/** In order, never edited once released: the position of a step is the schema version it leads to. */
export const migrations: readonly string[] = [initial];
