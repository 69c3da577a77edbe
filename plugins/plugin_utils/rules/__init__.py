# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for a role's settings, which are checked before a host is touched.

A rule is a function of the role's settings, in the module of its subject. It returns a sentence that says what was seen and the fix, or an empty text.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import (
    backup,
    cluster,
    data,
    firewall,
    haproxy,
    images,
    keys,
    minio,
    names,
    options,
    postgres,
    releases,
    servers,
    sockets,
    stores,
    tls,
    users,
)

Rule = Callable[[RoleSettings], str]

#: Rules that must hold before the other rules of a role can be checked.
FIRST: dict[str, Rule] = {"mlflow_server": releases.release_can_be_installed}
#: The rules of each role, in the order of the messages.
RULES: dict[str, tuple[Rule, ...]] = {
    "mlflow_server": (
        stores.no_store_is_left,
        releases.no_upgrade_was_cut_short,
        sockets.mlflow_listens_on_an_address,
        sockets.mlflow_is_reached_by_proxies,
        options.mlflow_environment_is_passed_on,
        options.mlflow_download_environment_is_one,
        keys.webhook_key_is_one,
        keys.kek_passphrase_is_long,
        keys.former_webhook_keys_are_keys,
        names.ipv6_has_brackets,
        stores.folders_can_be_the_service_s,
        options.no_name_is_misspelled,
        sockets.mlflow_port_is_free,
        options.mlflow_lists_are_lists,
        images.mlflow_has_no_folder_of_releases,
        images.mlflow_lock_is_built,
        images.mlflow_shares_the_network,
        images.mlflow_image_is_custom,
        images.mlflow_image_is_pinned,
        releases.gc_age_is_a_time,
        tls.certificate_has_its_key,
        tls.certificate_fits,
        tls.mlflow_authority_is_a_file,
        tls.jobs_need_plain_http,
        names.url_has_the_scheme,
        sockets.mlflow_port_is_one,
        releases.workers_are_one_or_more,
        names.names_are_bare,
        names.origins_have_a_scheme,
        names.prefix_is_a_path,
        names.prefix_is_known_to_the_release,
        options.mlflow_arguments_are_known,
        stores.backend_names_its_driver,
        stores.backend_is_a_database,
        stores.backend_password_is_encoded,
        stores.users_password_is_encoded,
        stores.backend_is_shared,
        servers.servers_are_alike,
        users.admin_password_is_long,
        users.admin_password_arrives,
        users.admin_name_arrives,
        users.users_need_basic_auth,
        users.user_names_are_their_own,
        users.user_passwords_are_long,
        users.permissions_are_known,
        users.permissions_are_known_to_the_release,
        users.models_and_prompts_agree,
        users.form_key_is_long,
        stores.users_database_names_its_driver,
        stores.users_have_a_database_of_their_own,
        stores.users_database_is_shared,
        releases.lock_has_metrics,
        releases.lock_has_basic_auth,
        releases.release_has_oidc,
        releases.lock_has_oidc,
        users.oidc_image_is_built,
        users.oidc_provider_describes_itself,
        users.oidc_client_is_known,
        users.oidc_leads_back_by_https,
        users.oidc_has_a_group,
        users.oidc_groups_have_no_comma,
        users.oidc_has_no_prefix,
        users.oidc_has_no_jobs,
        stores.artifacts_are_shared,
        stores.endpoint_has_no_path,
        stores.s3_keys_are_two,
        stores.direct_artifacts_are_on_s3,
        stores.direct_artifacts_are_known_to_the_release,
        stores.direct_artifacts_are_not_on_loopback,
    ),
    "postgres": (
        cluster.cluster_has_a_majority,
        cluster.cluster_is_of_packages,
        cluster.cluster_has_tls,
        cluster.cluster_certificate_is_for_clients,
        cluster.cluster_authority_is_a_file,
        cluster.cluster_settings_are_alike,
        cluster.cluster_keeps_its_members,
        cluster.cluster_overwrites_nothing,
        cluster.cluster_takes_over_its_data,
        cluster.cluster_has_no_backup,
        cluster.replication_passwords_are_long,
        cluster.patroni_port_is_free,
        data.postgres_keeps_its_data,
        tls.certificate_has_its_key,
        tls.certificate_fits,
        sockets.postgres_listens_on_addresses,
        options.postgres_settings_are_passed_on,
        postgres.connections_are_enough,
        options.no_name_is_misspelled,
        sockets.postgres_port_is_free,
        postgres.no_upgrade_was_cut_short,
        postgres.data_are_of_the_version,
        postgres.version_is_known,
        postgres.pgdg_needs_a_version,
        postgres.databases_have_names_of_their_own,
        keys.postgres_password_is_long,
        keys.superuser_password_is_long,
        images.postgres_user_is_numbers,
        images.postgres_user_is_the_images,
        images.postgres_has_no_repository,
        images.postgres_image_has_a_version,
        images.postgres_image_is_pinned,
        sockets.postgres_port_is_one,
    ),
    "etcd": (
        options.no_name_is_misspelled,
        cluster.cluster_has_a_majority,
        cluster.cluster_has_tls,
        cluster.cluster_certificate_is_for_clients,
        cluster.cluster_authority_is_a_file,
        cluster.cluster_member_is_known,
        tls.certificate_has_its_key,
        cluster.etcd_ports_are_free,
    ),
    "minio": (
        data.minio_keeps_its_data,
        minio.folder_can_be_the_service_s,
        tls.certificate_has_its_key,
        tls.certificate_fits,
        tls.minio_authority_is_a_file,
        sockets.minio_listens_on_an_address,
        options.minio_environment_is_passed_on,
        options.minio_download_environment_is_one,
        options.no_name_is_misspelled,
        sockets.minio_port_is_free,
        images.minio_image_is_pinned,
        images.minio_image_is_for_a_container,
        minio.download_is_pinned,
        minio.file_is_named,
        minio.file_is_the_one_asked_for,
        minio.source_is_of_minio,
        keys.minio_passwords_are_long,
        minio.accounts_differ,
        sockets.minio_ports_are_two,
        minio.bucket_has_a_name_of_s3,
        minio.drives_are_of_a_pool,
        minio.pool_runs_as_a_service,
        minio.pool_listens_on_the_network,
        minio.pool_has_one_scheme,
        minio.pool_is_even,
        minio.pool_survives_the_loss_of_a_host,
        minio.drives_are_disks,
    ),
    "haproxy": (
        options.no_name_is_misspelled,
        sockets.haproxy_listens_on_an_address,
        sockets.haproxy_ports_are_ports,
        sockets.haproxy_redirect_leads_to_https,
        sockets.haproxy_ports_are_free,
        haproxy.status_is_one,
        haproxy.check_has_a_password,
        haproxy.servers_are_there,
        haproxy.servers_have_names,
        haproxy.servers_have_addresses,
        haproxy.minio_port_is_free,
        haproxy.prefix_is_a_path,
        tls.certificate_has_its_key,
        tls.certificate_fits,
        tls.proxy_speaks_tls_to_servers_with_tls,
        tls.haproxy_authority_is_a_file,
        tls.hsts_needs_tls,
        haproxy.limits_are_numbers,
        haproxy.times_are_seconds,
    ),
    "firewall": (
        options.no_name_is_misspelled,
        firewall.sources_are_networks,
        firewall.ports_are_ports,
        firewall.ssh_is_open,
        firewall.there_is_time_to_connect_again,
    ),
    "backup": (
        backup.repository_stays,
        backup.repository_is_seen_by_postgres,
        keys.backup_passphrase_is_long,
        backup.repository_is_a_place,
        backup.endpoint_has_tls,
        backup.repository_has_an_account,
        backup.endpoint_is_of_a_bucket,
        backup.repository_is_not_the_artifacts,
        backup.authority_is_a_file,
        backup.times_are_one_or_more,
        backup.database_is_of_the_inventory,
        backup.bucket_is_named,
        backup.artifacts_endpoint_has_no_path,
        backup.minio_is_reached,
    ),
}
#: The rules for an upgrade of a role, which starts from the present state of the host.
UPGRADE: dict[str, tuple[Rule, ...]] = {
    "mlflow_server": (
        releases.server_tells_its_release,
        releases.upgrade_leads_to_a_newer_release,
        releases.upgrade_can_be_taken_back,
        releases.upgrade_can_bring_the_database_back,
    ),
    "postgres": (
        postgres.upgrade_is_not_of_an_image,
        postgres.upgrade_has_something_to_upgrade,
        postgres.upgrade_leads_to_a_newer_version,
        postgres.upgrade_has_the_former_programs,
        postgres.upgrade_overwrites_nothing,
        postgres.upgrade_has_room,
    ),
}
#: What a run reports about a role whose settings keep all rules.
NEWS: dict[str, Rule] = {"postgres": postgres.connections, "minio": minio.pools}


def faults(given: RoleSettings) -> list[str]:
    """Return a sentence for each rule that a role's settings break.

    :param given: The settings of the role.
    """
    wrong = given.type_faults()
    if not wrong and given.role in FIRST and (fault := FIRST[given.role](given)):
        wrong = [fault]
    return wrong or told(RULES[given.role], given)


def told(rules: tuple[Rule, ...], given: RoleSettings) -> list[str]:
    """Return the messages of rules, without empty ones."""
    return [fault for rule in rules if (fault := rule(given))]
