import { initial } from './0001-initial.ts';
import { groupCommit } from './0002-group-commit.ts';

import { tokensAndAudit } from './0003-tokens-and-audit.ts';
import { calibration } from './0004-calibration.ts';
import { fleet } from './0005-fleet.ts';

/** In order, never edited once released: the position of a step is the schema version it leads to. */
export const migrations: readonly string[] = [initial, groupCommit, tokensAndAudit, calibration, fleet];
