-- +goose Up
CREATE TABLE idempotency_keys (
    caller VARCHAR(64) NOT NULL,
    route VARCHAR(128) NOT NULL,
    idempotency_key VARCHAR(128) NOT NULL,
    request_hash CHAR(64) NOT NULL,
    subject BIGINT NOT NULL,
    status INT NOT NULL,
    location VARCHAR(255) NOT NULL,
    answer MEDIUMTEXT NOT NULL,
    busy_until BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (caller, route, idempotency_key)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

CREATE TABLE events (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kind VARCHAR(32) NOT NULL,
    subject BIGINT NOT NULL,
    happened VARCHAR(64) NOT NULL,
    actor VARCHAR(64) NOT NULL,
    happened_at BIGINT NOT NULL,
    data TEXT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX events_subject ON events (kind, subject);

CREATE TABLE feed_positions (
    feed VARCHAR(64) NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
