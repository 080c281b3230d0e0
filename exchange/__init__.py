"""The domain of the exchange: points, benefits, redemptions, settlement. Knows no HTTP, no GraphQL, no OAuth."""
