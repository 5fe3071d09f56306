#!/bin/sh
# Creates Temporal's two databases and brings their schema up to date; may run again and again.
# SQL_HOST, SQL_PORT, SQL_USER, SQL_PASSWORD and SQL_PLUGIN are read by the tool itself.
set -eu

schema=${SCHEMA_DIR:-/etc/temporal/schema/postgresql/v12}
for store in temporal visibility; do
    case $store in
        temporal) database=temporal ;;
        visibility) database=temporal_visibility ;;
    esac
    temporal-sql-tool --db "$database" create
    temporal-sql-tool --db "$database" setup-schema --version 0.0
    temporal-sql-tool --db "$database" update-schema --schema-dir "$schema/$store/versioned"
done
