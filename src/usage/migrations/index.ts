import { initial } from './0001-initial.ts';
import { placeholder } from './0002-placeholder.ts';
import { tokensAndAudit } from './0003-tokens-and-audit.ts';

/** In order, never edited once released: the position of a step is the schema version it leads to. */
export const migrations: readonly string[] = [initial, placeholder, tokensAndAudit];
