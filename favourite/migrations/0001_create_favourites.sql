-- +goose Up
CREATE TABLE favourites (
    favourite_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    like_date BIGINT NOT NULL,
    created_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX favourites_key ON favourites (user_id, product_id, like_date);
CREATE INDEX favourites_user_id ON favourites (user_id, favourite_id);
