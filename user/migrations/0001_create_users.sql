-- +goose Up
CREATE TABLE users (
    user_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    first_name VARCHAR(255),
    last_name VARCHAR(255),
    image_url VARCHAR(1024),
    email VARCHAR(254),
    phone VARCHAR(64),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE credentials (
    credential_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    username VARCHAR(255) NOT NULL,
    username_key VARCHAR(255) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    role VARCHAR(32) NOT NULL,
    is_enabled BOOLEAN NOT NULL,
    is_account_non_expired BOOLEAN NOT NULL,
    is_account_non_locked BOOLEAN NOT NULL,
    is_credentials_non_expired BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT credentials_of_user FOREIGN KEY (user_id) REFERENCES users (user_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX credentials_user_id ON credentials (user_id);
CREATE UNIQUE INDEX credentials_username_key ON credentials (username_key);

CREATE TABLE address (
    address_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    full_address VARCHAR(255),
    postal_code VARCHAR(32),
    city VARCHAR(120),
    country CHAR(2),
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT address_of_user FOREIGN KEY (user_id) REFERENCES users (user_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX address_user_id ON address (user_id);

CREATE TABLE verification_tokens (
    verification_token_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    credential_id BIGINT NOT NULL,
    token VARCHAR(255),
    expire_date BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT verification_tokens_of_credential FOREIGN KEY (credential_id) REFERENCES credentials (credential_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX verification_tokens_credential_id ON verification_tokens (credential_id);
