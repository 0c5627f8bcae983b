-- +goose Up
-- Users who are deleted, as far as the events of user-service were read. Rows stay for ever, as ids are never given again.
CREATE TABLE deleted_users (
    user_id BIGINT NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
