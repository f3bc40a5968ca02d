import type { Agent } from 'undici';
import type { Clock } from './clock.ts';
import { type BackendConfig, type Config, modelServerDefaults } from './config/index.ts';
import { type Secret, secretFromFile } from './config/secret.ts';
import type { LambdaClient } from './lambda/client.ts';
import { DeploymentLauncher } from './lambda/deployment-launch.ts';
import { Deployments } from './lambda/deployments.ts';
import { Fleet } from './lambda/fleet.ts';
import { Hunts } from './lambda/hunts.ts';
import { Keeper } from './lambda/keeper.ts';
import { LeaseKeeper } from './lambda/lease-keeper.ts';
import { leadMsOf } from './lambda/rates.ts';
import { ScheduleKeeper } from './lambda/schedule-keeper.ts';
import { accessFiles, readApiKey } from './lambda/serving/access.ts';
import { MachineReach, type Reach } from './lambda/serving/reach.ts';
import type { Log } from './log.ts';
import { OpenAiBackend } from './router/backends/openai.ts';
import { DeployedBackends } from './router/deployed.ts';
import type { Backend, BackendSource, Pending } from './router/types.ts';
import type { Sandbox } from './sandbox/index.ts';
import { Alerts } from './usage/alerts.ts';
import type { Budget } from './usage/budget.ts';
import type { Calendar } from './usage/calendar.ts';
import type { Database } from './usage/database.ts';
import { DeploymentBook, type DeploymentRow, specOf } from './usage/deployments.ts';
import { HuntBook } from './usage/hunts.ts';
import type { InstanceLedger } from './usage/instances.ts';
import { type KeeperCommand, KeeperLock } from './usage/keeper-lock.ts';
import { NoticeBook } from './usage/notice-book.ts';
import { hasOpenWork } from './usage/open-work.ts';
import { Watchdog } from './watchdog.ts';
import { Webhook } from './webhook.ts';

export interface FleetServices {
  fleet: Fleet;
  keeper: Keeper;
  lock: KeeperLock;
  deployments: DeploymentBook;
  hunts: HuntBook;
  launcher: DeploymentLauncher;
  schedules: ScheduleKeeper;
  notices: NoticeBook;
  webhook: Webhook;
  deployed: DeployedBackends;
}

/** The part of the house that has to do with machines: who launches, keeps, ends and reaches them, and says so. */
export function createFleet(parts: {
  config: Config;
  client: LambdaClient | null;
  database: Database;
  budget: Budget;
  calendar: Calendar;
  instances: InstanceLedger;
  agent: Agent;
  clock: Clock;
  log: Log;
  command: KeeperCommand;
  /** Whether this process starts one that keeps, instead of keeping at once. */
  callsWatchdog: boolean;
  /** Instead of SSH and the network: the sandbox's machines are on loopback. */
  reach: Reach | null;
}): FleetServices {
  const { config, client, database, budget, calendar, instances, agent, clock, log, command } = parts;
  const { home, redactor } = config;
  const notices = new NoticeBook({ database, clock, redactor });
  const tell: NoticeBook['tell'] = (kind, key, text) => notices.tell(kind, key, text);
  const webhook = new Webhook({ url: config.notices.webhookUrl, book: notices, clock, dispatcher: agent, log });
  const alerts = new Alerts({ database, budget, calendar, notices, clock });
  const lock = new KeeperLock(database, clock);
  const watchdog = new Watchdog({ home, lock, log });
  const callKeeper = async () => void (parts.callsWatchdog && (await watchdog.ensure()));
  const fleet = new Fleet({ client, instances, leases: config.leases, clock, log, tell, callKeeper });
  const deploymentBook = new DeploymentBook(database);
  const huntBook = new HuntBook(database);
  const reach = parts.reach ?? new MachineReach({ home, clock, log });
  const launcher = new DeploymentLauncher({
    book: deploymentBook,
    fleet,
    reach,
    home,
    environment: (name) => config.secretNamed(name),
    clock,
  });
  const deployments = new Deployments({
    book: deploymentBook,
    hunts: huntBook,
    instances,
    fleet,
    reach,
    rules: config.deployments,
    tell,
    apiKeyOf: (row) => readApiKey(home, machineOf(row)),
    forget: (row, intentId) => launcher.forget(row, intentId),
    dispatcher: agent,
    clock,
    log,
  });
  const schedules = new ScheduleKeeper({
    entries: config.fleet,
    book: deploymentBook,
    instances,
    capMs: config.leases.capMs,
    clock,
    log,
  });
  const keeper = new Keeper({
    command,
    lock,
    callKeeper: parts.callsWatchdog ? callKeeper : null,
    fleet,
    instances,
    leases: new LeaseKeeper({
      ...{ client, instances, clock, log, tell },
      // The end of its window is in the schedule.
      endsBefore: async ({ deployment_id: id }) =>
        (await deploymentBook.live()).some((row) => row.id === id && row.until_ms !== null),
    }),
    schedules,
    deployments,
    hunts: new Hunts({ book: huntBook, deployments: deploymentBook, launcher, instances, fleet, tell, clock, log }),
    hasOpenWork: async () => (await hasOpenWork(database.read)) || (await webhook.hasWork()),
    checkAlerts: () => alerts.check(),
    sendNotices: () => void webhook.send(),
    clock,
    log,
  });
  const deployed = new DeployedBackends({
    book: deploymentBook,
    create: (row, given) => new OpenAiBackend(backendOf(row, given), agent, log),
    async readyInMs(row) {
      const machine = (await instances.known()).find(({ intent_id: id }) => id === row.intent_id);
      if (!machine) return null;
      const { instance_type: type, requested_at_ms: requestedAtMs } = machine;
      return Math.max(0, requestedAtMs + leadMsOf(type, await deploymentBook.bootTimesMs(type)) - clock.nowMs());
    },
    log,
  });
  deploymentBook.onChange = () => deployed.look();
  huntBook.onOpen = callKeeper;
  return {
    fleet,
    keeper,
    lock,
    deployments: deploymentBook,
    hunts: huntBook,
    launcher,
    schedules,
    notices,
    webhook,
    deployed,
  };

  function backendOf(row: DeploymentRow, given: Pick<BackendConfig, 'id' | 'baseUrl' | 'models'>): BackendConfig {
    // vLLM continues an answer that another server began.
    const prefill = specOf(row).engine === 'vllm' ? ('vllm' as const) : null;
    return { ...modelServerDefaults, kind: 'dedicated', ...given, prefill, apiKey: keyOf(row) };
  }

  function keyOf(row: DeploymentRow): Secret | null {
    const { deploymentId, intentId, endpoint } = machineOf(row);
    if (endpoint === 'tunnel') return null;
    return secretFromFile(`the key of ${row.name}`, accessFiles(home, deploymentId, intentId).apiKeyFile, redactor);
  }
}

function machineOf(row: DeploymentRow) {
  return { deploymentId: row.id, intentId: row.intent_id ?? '', endpoint: specOf(row).endpoint };
}

/** What is configured, and what is deployed: one list for as long as nothing changes. */
export class AllBackends implements BackendSource {
  readonly #configured: readonly Backend[];
  readonly #deployed: DeployedBackends;
  #of: readonly Backend[] | undefined;
  #list: readonly Backend[] = [];

  constructor(configured: readonly Backend[], deployed: DeployedBackends) {
    this.#configured = configured;
    this.#deployed = deployed;
  }

  list(): readonly Backend[] {
    const deployed = this.#deployed.list();
    if (this.#of !== deployed) {
      this.#of = deployed;
      this.#list = [...this.#configured, ...deployed];
    }
    return this.#list;
  }

  pending(): readonly Pending[] {
    return this.#deployed.pending();
  }
}

/** The machines of the sandbox: their servers answer on loopback, where a tunnel would end. */
export function reachSandbox(sandbox: Pick<Sandbox, 'machineUrl'>): Reach {
  return {
    check: async () => undefined,
    async open({ instanceId }) {
      return { baseUrl: sandbox.machineUrl(instanceId), isUp: true, failure: null, close: async () => undefined };
    },
  };
}
