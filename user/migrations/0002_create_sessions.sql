-- +goose Up
CREATE TABLE login_failures (
    username_hash CHAR(64) NOT NULL PRIMARY KEY,
    failures INT NOT NULL,
    failed_at BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX login_failures_failed_at ON login_failures (failed_at);

CREATE TABLE refresh_families (
    family_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX refresh_families_user_id ON refresh_families (user_id);
CREATE INDEX refresh_families_expires_at ON refresh_families (expires_at);

CREATE TABLE refresh_tokens (
    token_hash CHAR(64) NOT NULL PRIMARY KEY,
    family_id BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);

CREATE TABLE signing_keys (
    generation BIGINT NOT NULL PRIMARY KEY,
    key_id VARCHAR(64) NOT NULL,
    seed CHAR(44) NOT NULL,
    sign_from BIGINT NOT NULL,
    verify_until BIGINT
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
