import type { InstanceRow } from '../../src/usage/instance-cost.ts';

/** A row with no more to it than a launch would write. */
export const bareInstance: InstanceRow = {
  intent_id: 'ours',
  instance_id: null,
  name: 'trainer',
  instance_type: 'gpu_1x_a10',
  region: 'us-east-1',
  price_cents_per_hour: 129,
  status: 'unconfirmed',
  owner: 'host:1',
  requested_at_ms: 0,
  launched_at_ms: null,
  first_active_at_ms: null,
  terminate_requested_at_ms: null,
  gone_at_ms: null,
  last_seen_at_ms: null,
  reserved_nano_usd: 0,
  lease_expires_at_ms: null,
  lease_cap_at_ms: null,
  deployment_id: null,
  planned_price_cents_per_hour: null,
  end_reason: null,
};
