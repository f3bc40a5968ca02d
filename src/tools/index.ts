import { AppError } from '../errors.ts';
import { complete } from './complete.ts';
import { costReport } from './cost-report.ts';
import { fleetStatus } from './fleet-status.ts';
import { launchInstance } from './launch-instance.ts';
import { listGpuInstances } from './list-gpu-instances.ts';
import { listGpuTypes } from './list-gpu-types.ts';
import { rateResponse } from './rate-response.ts';
import { renewLease } from './renew-lease.ts';
import { routeExplain } from './route-explain.ts';
import { terminateInstance } from './terminate-instance.ts';
import type { Tool } from './tool.ts';

/** All tools, in the order in which clients see them. The order is fixed: prompt caches depend on it. */
export const allTools: readonly Tool[] = [
  complete,
  routeExplain,
  listGpuInstances,
  listGpuTypes,
  launchInstance,
  renewLease,
  fleetStatus,
  terminateInstance,
  costReport,
  rateResponse,
];

/** The tools that a server offers: without those that change anything when read-only, and only those named, if any are. */
export function selectTools(options: { readOnly: boolean; only?: readonly string[] | undefined }): readonly Tool[] {
  const names = allTools.map((tool) => tool.name);
  const unknown = (options.only ?? []).filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    throw new AppError('config_invalid', `There is no tool ${unknown.map((name) => `"${name}"`).join(', ')}.`, {
      next: `Valid: ${names.join(', ')}.`,
    });
  }
  return allTools
    .filter((tool) => !options.readOnly || tool.effect === 'read')
    .filter((tool) => options.only === undefined || options.only.includes(tool.name));
}
