import { AppError } from '../errors.ts';
import { requireScope } from '../scope.ts';
import type { AuditEntry, AuditTrail } from '../usage/audit.ts';
import type { Confirm, Confirmed } from './confirmation.ts';
import type { Tool, ToolContext } from './tool.ts';

/** A name is not that long; nobody fills the ledger with one. */
const longestText = 200;

type Result = Awaited<ReturnType<Tool['call']>>;

/**
 * Calls a tool for the principal of the context. What may spend or destroy is written down before it begins, with the
 * yes before anything follows from it, and with its outcome. What spends does not happen when it cannot be written
 * down. What ends a machine does: a ledger that is locked or full must not keep it billing. Then, and where only the
 * outcome cannot be written, `onUnrecorded` is told all there is to record.
 */
export async function callAudited(
  tool: Tool,
  input: unknown,
  context: ToolContext,
  audit: AuditTrail,
  onUnrecorded: (error: unknown, record: object) => void,
): Promise<Result> {
  const { effect, name, recorded, scope } = tool;
  const { principal } = context;
  // What only writes is its own record.
  if (effect === 'read' || effect === 'write') {
    requireScope(principal, scope, name);
    return tool.call(input, context);
  }
  const subject = keep(input, recorded);
  const unrecorded = (error: unknown, record: object = {}) =>
    onUnrecorded(error, { principal: principal.id, tool: name, subject, ...record });
  const refuseOrGoOn = (error: unknown, record?: object): void => {
    if (effect === 'spend') refuseUnrecorded(error, tool);
    unrecorded(error, record);
  };
  const entry = await audit.begin({ principal, action: name, effect, subject }).catch((error: unknown) => {
    refuseOrGoOn(error);
    return null;
  });
  const answers: Confirmed<unknown>['status'][] = [];
  const close: AuditEntry['close'] = async (outcome, result) =>
    entry?.close(outcome, result).catch((error: unknown) => unrecorded(error, { outcome, result }));
  try {
    requireScope(principal, scope, name);
    const confirm: Confirm = async (proposal) => {
      const answer = await context.confirm(proposal);
      answers.push(answer.status);
      if (answer.status === 'confirmed') {
        const by = proposal.token === undefined ? 'elicitation' : 'confirm_token';
        const plan = keep(answer.plan, recorded);
        await entry?.confirmed(by, plan).catch((error: unknown) => refuseOrGoOn(error, { by, plan }));
      }
      return answer;
    };
    const result = await tool.call(input, { ...context, confirm });
    await close(outcomeAfter(answers.at(-1)), keep(result.structured, recorded));
    return result;
  } catch (error) {
    await close(`failed:${error instanceof AppError ? error.code : 'internal_error'}`);
    throw error;
  }
}

function refuseUnrecorded(error: unknown, { name }: Tool): never {
  if (!(error instanceof AppError)) throw error;
  throw new AppError(error.code, `${error.message} What cannot be recorded is not done, so ${name} did nothing.`, {
    next: error.next ?? 'Try again in a moment.',
    cause: error,
  });
}

/** The last answer decides: after a yes the price may rise, and the plan is put before the person again. */
function outcomeAfter(answer: Confirmed<unknown>['status'] | undefined): 'done' | 'planned' | 'declined' {
  if (answer === 'confirm_required') return 'planned';
  return answer === 'declined' ? 'declined' : 'done';
}

/** The fields that are named, at any depth, and nothing else. */
function keep(value: unknown, names: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((inner) => keep(inner, names));
  if (typeof value === 'string') return value.length > longestText ? `${value.slice(0, longestText)}…` : value;
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([name]) => names.includes(name));
  return Object.fromEntries(kept.map(([name, inner]) => [name, keep(inner, names)]));
}
